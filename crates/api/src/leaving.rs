//! Going: nobody who was let in is turned out.
//!
//! Told to go by SIGTERM, the process first says so at `/readyz` and gives its jobs back, and serves on for a while: a load
//! balancer sends its requests elsewhere. Every answer from then on closes its connection. Then nothing new is accepted,
//! what is under way is answered, and the command line closes the store: the door carries out what it holds, the pools
//! close. Told by SIGINT (Ctrl-C), it does not wait for a balancer. Told a second time, it goes at once.

use std::time::Duration;

use actix_web::dev::ServerHandle;
use people_store::Store;

use crate::connections::{Connections, Stage};

/// Longest time a step of a job may take beyond the drain.
const STEP: Duration = Duration::from_secs(5);

pub struct Leaving {
    pub handle: ServerHandle,
    pub store: Store,
    pub connections: Connections,
    /// How long it serves on after it was told.
    pub drain: Duration,
}

impl std::fmt::Debug for Leaving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Leaving({:?})", self.drain)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// By whoever looks after many instances.
    Terminate,
    /// By somebody at the terminal.
    Interrupt,
}

impl Leaving {
    /// Waits until the process is told to go, and sees to it.
    pub async fn when_told(self) {
        let Ok(mut signals) = Signals::open() else { return };
        let told = signals.next().await;
        self.connections.enter(Stage::Leaving);
        tracing::info!("told to go: no more requests are asked for");
        let leave = async {
            // Jobs go on elsewhere meanwhile; who follows them is told to ask again.
            let drain = if told == Told::Terminate { self.drain } else { Duration::ZERO };
            // A step that does not end is not waited for: its lease runs out.
            let jobs = tokio::time::timeout(drain + STEP, self.store.stop_jobs());
            let (stopped, ()) = tokio::join!(jobs, tokio::time::sleep(drain));
            if stopped.is_err() {
                tracing::warn!("a job is left to whoever takes it over");
            }
            self.connections.enter(Stage::Closed);
            tracing::info!("no more connections are accepted");
            self.handle.stop(true).await;
        };
        tokio::select! {
            () = leave => {}
            _ = signals.next() => self.handle.stop(false).await,
        }
    }
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    quit: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn open() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Terminate,
            _ = self.interrupt.recv() => Told::Interrupt,
            _ = self.quit.recv() => Told::Interrupt,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn open() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Told {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Told::Interrupt
    }
}
