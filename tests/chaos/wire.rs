//! Wires: one proxy for each worker and server, so that one worker can be partitioned alone.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use fixtures::proxy::{Fault as ProxyFault, Proxy};

use crate::fault::Trouble;

/// The way from one worker to one server.
#[derive(Debug)]
pub(crate) struct Wire {
    proxy: Proxy,
    /// Counts the troubles: who heals an old one must not heal a new one.
    troubles: AtomicU64,
}

impl Wire {
    /// A sound one.
    ///
    /// # Errors
    /// If no port is free.
    pub(crate) async fn new(server: SocketAddr) -> anyhow::Result<Self> {
        let proxy = Proxy::start(server).await?;
        Ok(Self {
            proxy,
            troubles: AtomicU64::new(0),
        })
    }

    /// Where the worker finds the server.
    pub(crate) fn address(&self) -> SocketAddr {
        self.proxy.address()
    }

    /// Begins a trouble; gives its number, by which it is healed.
    pub(crate) fn disturb(&self, trouble: Trouble) -> u64 {
        match trouble {
            Trouble::Cut => self.proxy.cut(),
            Trouble::Delay(delay) => self.proxy.set(ProxyFault::Delay(delay)),
            Trouble::HalfOpen => self.proxy.set(ProxyFault::Stall),
            Trouble::Refuse => self.proxy.set(ProxyFault::Refuse),
            Trouble::LostAnswers => self.proxy.set(ProxyFault::LoseAnswers),
        }
        match trouble {
            // What is cut is cut; another trouble goes on.
            Trouble::Cut => 0,
            Trouble::Delay(_) | Trouble::HalfOpen | Trouble::Refuse | Trouble::LostAnswers => {
                self.troubles.fetch_add(1, Ordering::SeqCst) + 1
            }
        }
    }

    /// Ends a trouble, unless another one has come since.
    pub(crate) fn heal(&self, trouble: u64) {
        if self.troubles.load(Ordering::SeqCst) == trouble {
            self.proxy.set(ProxyFault::None);
        }
    }

    /// Ends whatever there is.
    pub(crate) fn heal_all(&self) {
        self.proxy.set(ProxyFault::None);
    }
}
