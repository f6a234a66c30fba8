//! Whether there is a Citus to test on is known before the stories are built, so that without one its variants are
//! told as ignored. They would else pass without having run.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=TEST_CITUS_URL");
    println!("cargo::rustc-check-cfg=cfg(citus)");
    if std::env::var("TEST_CITUS_URL").is_ok_and(|url| !url.is_empty()) {
        println!("cargo::rustc-cfg=citus");
    }
}
