//! A worker: one process after the other, each started when the last one has ended, as a kubelet does.

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use fixtures::process::Process;
use rustix::process::Signal;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::disturbances::Disturbances;
use crate::failpoints;
use crate::fault::FaultKind;
use crate::inject::tell;
use crate::servers::Servers;
use crate::settings::{Plant, Settings};
use crate::tally::Tally;
use crate::violation::Kind;
use crate::wire::Wire;

/// Time from SIGTERM to the end where nothing is broken.
const PROMPT: Duration = Duration::from_secs(5);
/// What a worker adds to its grace where something hangs.
const LAST_CALL: Duration = Duration::from_secs(15);
/// After so long without trouble all retries have come to their end.
const CALM: Duration = Duration::from_secs(20);
/// In a cluster a write may wait for the other nodes to agree that a replica is dead, which takes up to 30 s.
const CALM_CLUSTER: Duration = Duration::from_secs(55);
/// Pause between looks at the memory.
const LOOK: Duration = Duration::from_secs(2);
/// Before it has lived so long, a process may not listen to signals yet.
const DEAF: Duration = Duration::from_secs(5);
/// A process that ends by itself is started again after this, so that a broken one does not spin.
const BACK_OFF: Duration = Duration::from_secs(1);

/// From this process on a worker does nothing to itself.
pub(crate) const SOUND_LIVES: u64 = 1_000_000;

/// What a worker is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Kill,
    Term,
    /// SIGSTOP, and SIGCONT after this long.
    Stop(Duration),
    /// SIGTERM, and no process after it.
    Retire,
}

/// What a worker needs.
#[derive(Clone, Debug)]
pub(crate) struct Environment {
    pub(crate) settings: Arc<Settings>,
    pub(crate) servers: Arc<Servers>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) disturbances: Arc<Disturbances>,
    pub(crate) directory: PathBuf,
}

/// A worker that is kept alive.
#[derive(Debug)]
pub(crate) struct Worker {
    orders: mpsc::UnboundedSender<Order>,
    keeping: JoinHandle<anyhow::Result<()>>,
}

struct Keeper {
    number: usize,
    environment: Environment,
    /// To NATS and to Qdrant.
    wires: [Arc<Wire>; 2],
    orders: mpsc::UnboundedReceiver<Order>,
    lives: u64,
    retired: bool,
}

/// A process as long as it lives.
struct RunningProcess {
    process: Process,
    since: Instant,
    /// Whether it does nothing to itself.
    sound: bool,
    killed: bool,
    terminated: Option<Termination>,
    continues: Option<Instant>,
}

/// A process that was told to end.
#[derive(Clone, Copy, Debug)]
struct Termination {
    since: Instant,
    limit: Duration,
    /// Whether it has no excuse for not ending well.
    calm: bool,
}

impl Worker {
    /// Starts worker `number` and keeps it alive. `lives` is how many processes it has had.
    pub(crate) fn start(
        number: usize,
        environment: &Environment,
        wires: [Arc<Wire>; 2],
        lives: u64,
    ) -> Self {
        let (orders, received) = mpsc::unbounded_channel();
        let environment = environment.clone();
        let keeper = Keeper {
            number,
            environment,
            wires,
            orders: received,
            lives,
            retired: false,
        };
        Self {
            orders,
            keeping: tokio::spawn(keeper.keep()),
        }
    }

    pub(crate) fn tell(&self, order: Order) {
        // One that has retired does not listen.
        self.orders.send(order).ok();
    }

    /// Waits for the end of a worker that was told to retire.
    ///
    /// # Errors
    /// If it could not be kept alive.
    pub(crate) async fn retired(self) -> anyhow::Result<()> {
        self.keeping.await?
    }
}

impl Keeper {
    async fn keep(mut self) -> anyhow::Result<()> {
        while !self.retired {
            self.lives += 1;
            let random = failpoints::random(&self.environment.settings, self.number, self.lives);
            let mut life = RunningProcess {
                sound: random.is_none(),
                process: self.start(random)?,
                since: Instant::now(),
                killed: false,
                terminated: None,
                continues: None,
            };
            let status = self.watch(&mut life).await?;
            if !self.judge(&life, status) {
                sleep(BACK_OFF).await;
            }
        }
        Ok(())
    }

    fn start(&self, random: Option<String>) -> anyhow::Result<Process> {
        let settings = &self.environment.settings;
        let mut command = self.environment.servers.program("worker");
        let [nats, qdrant] = &self.wires;
        command.env("NATS_URL", format!("nats://{}", nats.address()));
        command.env("QDRANT_URL", format!("http://{}", qdrant.address()));
        if let Some(model) = &self.environment.servers.attached
            && settings.is_of_attached(self.number)
        {
            command.env("EBB_MODEL", model);
        }
        command.env("EBB_GRACE", format!("{}ms", settings.grace().as_millis()));
        // Two sessions, so that batches are divided between engines.
        command.env("EBB_THREADS", "2").env("EBB_BATCH_JOBS", "16");
        if let Some(rule) = &random {
            tell(&format!("worker {} runs with {rule}", self.number));
        }
        command.env("EBB_FAILPOINTS", failpoints::rules(settings, random));
        command.args(["--log-format", "json", "run"]);
        let name = format!("worker-{}", self.number);
        let log = self.environment.directory.join(format!("{name}.log"));
        Process::start(command, &name, &log)
    }

    /// Until the process has ended.
    async fn watch(&mut self, life: &mut RunningProcess) -> anyhow::Result<ExitStatus> {
        let mut look = Instant::now();
        loop {
            let continues = life.continues.unwrap_or_else(Instant::now);
            let overdue = life
                .terminated
                .map_or_else(Instant::now, |end| end.since + end.limit);
            let waits = life.terminated.is_some() && !life.killed;
            tokio::select! {
                status = life.process.wait() => match status {
                    Ok(status) => return Ok(status),
                    // It has only lived for long.
                    Err(_) if life.process.pid().is_ok() => {}
                    Err(error) => return Err(error),
                },
                Some(order) = self.orders.recv() => self.obey(life, order),
                () = sleep_until(continues), if life.continues.is_some() => {
                    life.continues = None;
                    signal(&life.process, Signal::CONT);
                }
                () = sleep_until(overdue), if waits => self.overdue(life),
                () = sleep_until(look + LOOK) => {
                    look = Instant::now();
                    self.environment.tally.memory(life.process.peak_memory().unwrap_or(0));
                }
            }
        }
    }

    fn obey(&mut self, life: &mut RunningProcess, order: Order) {
        match order {
            Order::Kill => {
                life.killed = true;
                signal(&life.process, Signal::KILL);
            }
            Order::Stop(pause) => {
                life.continues = Some(Instant::now() + pause);
                // While it is stopped it cannot end.
                if let Some(termination) = &mut life.terminated {
                    termination.limit += pause;
                }
                signal(&life.process, Signal::STOP);
            }
            Order::Retire => {
                self.retired = true;
                self.terminate(life);
            }
            Order::Term => self.terminate(life),
        }
    }

    fn terminate(&self, life: &mut RunningProcess) {
        if life.terminated.is_some() {
            return;
        }
        let rested = life.continues.take().is_none();
        signal(&life.process, Signal::CONT);
        let settings = &self.environment.settings;
        let calm_for = self.environment.disturbances.calm_for(self.number);
        let listens = life.since.elapsed() > DEAF;
        let enough = if settings.is_cluster() {
            CALM_CLUSTER
        } else {
            CALM
        };
        let calm = rested && listens && life.sound && calm_for.is_none_or(|calm| calm > enough);
        let limit = if calm {
            PROMPT
        } else {
            settings.grace() + LAST_CALL
        };
        life.terminated = Some(Termination {
            since: Instant::now(),
            limit,
            calm,
        });
        let lost = settings.plant == Some(Plant::LostSigterm);
        signal(
            &life.process,
            if lost { Signal::KILL } else { Signal::TERM },
        );
    }

    fn overdue(&self, life: &mut RunningProcess) {
        let evidence = format!(
            "worker {} has not ended after SIGTERM: {:?}",
            self.number, life.terminated
        );
        self.environment
            .tally
            .violation(Kind::BadExit, None, evidence);
        life.killed = true;
        signal(&life.process, Signal::KILL);
    }

    /// Looks at how a process has ended; `false` if it did so by itself.
    fn judge(&self, life: &RunningProcess, status: ExitStatus) -> bool {
        let tally = &self.environment.tally;
        match life.terminated {
            _ if life.killed => true,
            Some(end) if end.calm && !status.success() => {
                let evidence = format!("worker {} ended with {status} after SIGTERM", self.number);
                tally.violation(Kind::BadExit, None, evidence);
                true
            }
            Some(_) => true,
            None if status.signal() == Some(Signal::KILL.as_raw()) => {
                tally.fault(FaultKind::Failpoint);
                true
            }
            None => {
                let evidence = format!("worker {} ended with {status} by itself", self.number);
                tally.violation(Kind::BadExit, None, evidence);
                false
            }
        }
    }
}

/// One that has just ended cannot be signalled, and need not be.
fn signal(process: &Process, signal: Signal) {
    drop(process.signal(signal));
}
