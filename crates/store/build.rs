//! Migrations are compiled in: one that is added or removed is a change of this crate.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}
