//! Run: sets everything up, lets it happen, heals it, and looks at what is left.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use contract::model::Manifest;
use contract::topology::{Lane, Task};
use fixtures::wait::until;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::check::{Rules, check};
use crate::disturbances::Disturbances;
use crate::drain::{drain, take_all};
use crate::fault::Server;
use crate::final_state::{self, FinalState};
use crate::history::History;
use crate::inject::{Target, inject, tell};
use crate::logs;
use crate::poll::poll;
use crate::publish::Publisher;
use crate::reference::Reference;
use crate::report::Report;
use crate::schedule::schedule;
use crate::servers::Servers;
use crate::settings::Settings;
use crate::tally::Tally;
use crate::violation::Kind;
use crate::wire::Wire;
use crate::worker::{Environment, Order, SOUND_LIVES, Worker};
use crate::workload::Workload;

/// Messages that are under way when the workers are told to end.
const LAST_BURST: usize = 300;
/// They are told so when this few are left, or when nothing has come of them for so long.
const TERMINATE_AT: u64 = 240;
const BUSY_LIMIT: Duration = Duration::from_secs(30);
/// Most memory of a worker: with a tiny model it does not depend on the machine.
const MEMORY_LIMIT: u64 = 512 << 20;

struct ChaosRun {
    environment: Environment,
    wires: Vec<[Arc<Wire>; 2]>,
    /// Of all models.
    lanes: Vec<Lane>,
    history: Arc<History>,
    publisher: Publisher,
    workload: Workload,
}

/// A whole run, with its data in `directory`.
///
/// # Errors
/// If the run itself fails, which says nothing about the workers.
pub(crate) async fn run(settings: Settings, directory: &Path) -> anyhow::Result<Report> {
    let mut run = ChaosRun::start(settings, directory).await?;
    run.inject_faults().await?;
    let (workers, drained_in) = run.recover().await?;
    run.terminate_busy(workers).await?;
    let found = run.finish().await?;
    run.judge(found, drained_in).await
}

impl ChaosRun {
    async fn start(settings: Settings, directory: &Path) -> anyhow::Result<Self> {
        let servers = Arc::new(Servers::start(directory, &settings).await?);
        let mut wires = Vec::new();
        for worker in 0..settings.processes() {
            let [nats, qdrant] = [
                servers.address(Server::Nats, 0)?,
                servers.address(Server::Qdrant, settings.node_of(worker))?,
            ];
            wires.push([
                Arc::new(Wire::new(nats).await?),
                Arc::new(Wire::new(qdrant).await?),
            ]);
        }
        let primary = Lane::of(Task::Embed, &servers.manifest.name);
        let (history, tally) = (Arc::new(History::new()), Arc::new(Tally::default()));
        let publisher = Publisher {
            jetstream: servers.jetstream.clone(),
            subjects: primary.each_ref().map(Lane::subject),
            history: history.clone(),
            tally: tally.clone(),
        };
        let workload = Workload::new(settings.seed);
        let mut lanes = primary.to_vec();
        if let Some(attached) = &servers.attached {
            lanes.extend(Lane::of(Task::Embed, &Manifest::load(attached)?.name));
        }
        let environment = Environment {
            settings: Arc::new(settings),
            servers,
            tally,
            disturbances: Arc::new(Disturbances::default()),
            directory: directory.to_owned(),
        };
        Ok(Self {
            environment,
            wires,
            lanes,
            history,
            publisher,
            workload,
        })
    }

    fn workers(&self, lives: u64) -> Vec<Worker> {
        let wires = self.wires.iter().enumerate();
        wires
            .map(|(number, wires)| Worker::start(number, &self.environment, wires.clone(), lives))
            .collect()
    }

    /// Publishes and injects faults until the time is over, and heals everything.
    async fn inject_faults(&mut self) -> anyhow::Result<()> {
        let environment = self.environment.clone();
        let target = Target {
            servers: environment.servers.clone(),
            wires: self.wires.clone(),
            workers: self.workers(0),
            disturbances: environment.disturbances.clone(),
            tally: environment.tally.clone(),
        };
        let polling = poll(
            environment.servers.clone(),
            self.history.clone(),
            environment.tally.clone(),
        );
        let polling = tokio::spawn(polling);
        let (stop, stopped) = watch::channel(false);
        let length = environment.settings.length();
        let faults = async {
            let until = Instant::now() + length;
            inject(&target, schedule(&environment.settings)).await?;
            tokio::time::sleep_until(until).await;
            stop.send_replace(true);
            anyhow::Ok(())
        };
        let publishing = async {
            self.publisher
                .run(&mut self.workload, environment.settings.rate, stopped)
                .await;
            anyhow::Ok(())
        };
        tokio::try_join!(faults, publishing)?;
        polling.abort();
        self.wires.iter().flatten().for_each(|wire| wire.heal_all());
        if let Some(links) = &environment.servers.nodes.links {
            links.heal_all();
        }
        tell("all faults are healed");
        retire(target.workers).await
    }

    /// Sound workers do all that is left. Gives them, and how long they took.
    async fn recover(&self) -> anyhow::Result<(Vec<Worker>, Duration)> {
        let environment = &self.environment;
        let workers = self.workers(SOUND_LIVES);
        let (jobs, took) = drain(
            &environment.servers,
            &self.lanes,
            environment.settings.ack_wait,
        )
        .await?;
        let took_seconds = took.as_secs_f64();
        tell(&format!(
            "{} jobs left after {took_seconds:.1} s",
            jobs.left
        ));
        Ok((workers, took))
    }

    /// Tells all workers to end while they are busy: they end at once, and what they have not finished can be had again
    /// within seconds.
    async fn terminate_busy(&mut self, workers: Vec<Worker>) -> anyhow::Result<()> {
        let servers = &self.environment.servers;
        self.workload.calm();
        let busy = async {
            self.publisher.burst(&mut self.workload, LAST_BURST).await;
            until("the workers to be busy", BUSY_LIMIT, async || {
                let jobs = final_state::jobs(&servers.jetstream, &self.lanes).await?;
                Ok((jobs.left < TERMINATE_AT).then_some(()))
            })
            .await
        };
        busy.await?;
        retire(workers).await?;
        let (left, came) = take_all(servers, &self.lanes).await?;
        tell(&format!("{left} jobs were given back, {came} came again"));
        if came < left {
            let evidence = format!("{left} jobs are left, of which {came} can be had");
            self.environment
                .tally
                .violation(Kind::NotGivenBack, None, evidence);
        }
        Ok(())
    }

    /// New workers finish what is left, and end when idle.
    async fn finish(&self) -> anyhow::Result<FinalState> {
        let environment = &self.environment;
        let workers = self.workers(SOUND_LIVES);
        let (jobs, _) = drain(
            &environment.servers,
            &self.lanes,
            environment.settings.ack_wait,
        )
        .await?;
        retire(workers).await?;
        let nodes = &environment.servers.nodes;
        nodes.recovered().await?;
        let clients = nodes.clients()?;
        let mut found =
            final_state::find(&environment.servers.jetstream, &clients, &self.lanes).await?;
        found.jobs = jobs;
        Ok(found)
    }

    async fn judge(self, found: FinalState, drained_in: Duration) -> anyhow::Result<Report> {
        let Environment {
            settings,
            servers,
            tally,
            directory,
            ..
        } = self.environment;
        let records = self.history.records();
        let mut violations = tally.violations();
        violations.extend(logs::check(&logs::logs(&directory, settings.processes()))?);
        if tally.peak_memory() > MEMORY_LIMIT {
            tally.violation(Kind::Memory, None, format!("{} bytes", tally.peak_memory()));
        }
        let counts = (found.points.len(), found.letters.len());
        let (checked, records) = tokio::task::spawn_blocking(move || {
            let mut reference = Reference::load(&servers.tools, &servers.model)?;
            // A text that the engine refuses has no vector, which is none that a point may have.
            let mut vector = |text: &str| reference.vector(text).unwrap_or_default();
            let fingerprint = servers.manifest.fingerprint.to_string();
            let mut rules = Rules {
                fingerprint: &fingerprint,
                dimensions: servers.manifest.identity.dimensions,
                attached: servers.attached.is_some(),
                reference: &mut vector,
            };
            anyhow::Ok((check(&records, &found, &mut rules), records))
        })
        .await??;
        violations.extend(checked);
        Ok(Report {
            settings: Settings::clone(&settings),
            faults: tally.faults(),
            operations: tally.operations(),
            violations,
            drained_in,
            peak_memory: tally.peak_memory(),
            found: counts,
            records,
            directory,
        })
    }
}

async fn retire(workers: Vec<Worker>) -> anyhow::Result<()> {
    workers.iter().for_each(|worker| worker.tell(Order::Retire));
    for worker in workers {
        worker.retired().await?;
    }
    Ok(())
}
