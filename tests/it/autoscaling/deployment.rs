//! The Deployment that is scaled: pods are worker processes. One that ends is started again, as a kubelet does it; one
//! that has to go gets SIGTERM, and SIGKILL when its grace is over.

use std::time::Duration;

use anyhow::Context as _;
use fixtures::process::Process;
use rustix::process::Signal;
use tests::Bed;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Pods that are started anew before somebody should look why.
const MAX_STARTED: u32 = 50;
/// `terminationGracePeriodSeconds`. Not compressed, because the work of a real process is not.
const GRACE: Duration = Duration::from_secs(20);

pub(crate) struct Deployment<'a> {
    bed: &'a Bed,
    /// More environment of the workers.
    environment: Vec<(&'static str, String)>,
    /// Oldest first.
    pods: Vec<Process>,
    leaving: Vec<JoinHandle<anyhow::Result<()>>>,
    started: u32,
}

impl<'a> Deployment<'a> {
    pub(crate) fn new(bed: &'a Bed, environment: &[(&'static str, &str)]) -> Self {
        let owned = |(name, value): &(&'static str, &str)| (*name, (*value).to_owned());
        Self {
            bed,
            environment: environment.iter().map(owned).collect(),
            pods: Vec::new(),
            leaving: Vec::new(),
            started: 0,
        }
    }

    pub(crate) fn replicas(&self) -> u32 {
        u32::try_from(self.pods.len()).unwrap_or(u32::MAX)
    }

    /// Processes that were ever started.
    pub(crate) fn started(&self) -> u32 {
        self.started
    }

    /// Starts pods, or sends the newest away: a ReplicaSet prefers those that were ready for the shortest time.
    pub(crate) fn scale(&mut self, replicas: u32) -> anyhow::Result<()> {
        while self.replicas() < replicas {
            let pod = self.start()?;
            self.pods.push(pod);
        }
        while self.replicas() > replicas {
            let pod = self.pods.pop().context("there is a pod to send away")?;
            self.leaving.push(tokio::spawn(leave(pod)));
        }
        Ok(())
    }

    /// Starts the pods again that have ended by themselves.
    pub(crate) fn restart_ended(&mut self) -> anyhow::Result<()> {
        for n in 0..self.pods.len() {
            if let Some(status) = self.pods[n].ended()? {
                eprintln!("pod {n} ended with {status}");
                self.pods[n] = self.start()?;
            }
        }
        Ok(())
    }

    /// Kills the oldest pod as a crash would.
    pub(crate) fn crash(&self) -> anyhow::Result<()> {
        let pod = self.pods.first().context("there is no pod to kill")?;
        pod.signal(Signal::KILL)
    }

    /// Waits for all that were sent away.
    pub(crate) async fn left(&mut self) -> anyhow::Result<()> {
        for leaving in std::mem::take(&mut self.leaving) {
            leaving.await??;
        }
        Ok(())
    }

    fn start(&mut self) -> anyhow::Result<Process> {
        self.started += 1;
        anyhow::ensure!(
            self.started < MAX_STARTED,
            "pods end again and again; see pod-1.log"
        );
        let name = format!("pod-{}", self.started);
        let mut command = self.bed.stack.program("worker");
        command.args([
            "run",
            "--log-format",
            "json",
            "--grace",
            "4s",
            "--threads",
            "1",
        ]);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let log = self.bed.directory.path().join(format!("{name}.log"));
        Process::start(command, &name, &log)
    }
}

async fn leave(mut pod: Process) -> anyhow::Result<()> {
    pod.signal(Signal::TERM)?;
    match timeout(GRACE, pod.wait()).await {
        Ok(ended) => {
            let status = ended?;
            // A pod that was still starting has not asked for the signal yet.
            let by_signal = status.code().is_none();
            anyhow::ensure!(
                status.success() || by_signal,
                "a pod that was sent away ended with {status}"
            );
            Ok(())
        }
        Err(_) => {
            let log = pod.log().display().to_string();
            pod.kill().await?;
            anyhow::bail!("a pod outlived its grace of {GRACE:?}; its log is {log}")
        }
    }
}
