//! Who asks while the prefix moves: clients that count, and a load at a fixed rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;

use super::{MoveArgs, PREFIX, spec};
use crate::cluster::{Cluster, Place};
use crate::load::{Generator, LoadOutcome};
use crate::requests::Mix;
use crate::schedule::Stop;
use crate::writer::Writer;

/// Between two writes of a counting client.
const WRITER_PAUSE: Duration = Duration::from_millis(1);

/// The clients that count.
pub(super) struct Clients {
    writers: Vec<Writer>,
}

/// What all counting clients have seen.
pub(super) struct Counted {
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
    pub(super) wrong_answers: u64,
}

impl Clients {
    pub(super) fn start(
        args: &MoveArgs,
        cluster: &Cluster,
        entries: [Place; 2],
        round: usize,
    ) -> Result<Self> {
        let writers = (0..args.clients).map(|number| {
            let address = cluster.address(entries[number % entries.len()]);
            let key = format!("{PREFIX}count:{round}:{number}");
            Writer::start(address, key, WRITER_PAUSE)
        });
        let writers = writers.collect::<Result<_>>()?;
        Ok(Self { writers })
    }

    pub(super) fn take_longest(&self) -> Duration {
        let longest = self
            .writers
            .iter()
            .map(|writer| writer.progress().longest)
            .max();
        self.writers.iter().for_each(Writer::forget_longest);
        longest.unwrap_or_default()
    }

    pub(super) fn stop(self) -> Counted {
        let mut counted = Counted {
            errors: 0,
            first_error: None,
            wrong_answers: 0,
        };
        for writer in self.writers {
            let progress = writer.stop();
            counted.errors += progress.errors;
            counted.wrong_answers += progress.wrong_answers;
            counted.first_error = counted.first_error.or(progress.first_error);
        }
        counted
    }
}

/// A load that goes on until it is told to end.
pub(super) struct Load {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<LoadOutcome>>>,
}

impl Load {
    /// Requests at a fixed rate through both nodes, half of them through either.
    pub(super) fn start(args: &MoveArgs, cluster: &Cluster, entries: [Place; 2]) -> Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for (at, place) in entries.into_iter().enumerate() {
            let mut spec = spec(args, cluster.address(place), Mix::Mixed);
            spec.clients = args.clients.div_ceil(entries.len());
            spec.rate = Some(args.rate / entries.len() as f64);
            spec.shape.seed = at as u64 + 1;
            let mut generator = Generator::connect(spec)?;
            let over = Arc::clone(&over);
            let run = move || generator.run(&Stop::When(over));
            threads.push(std::thread::spawn(run));
        }
        Ok(Self { over, threads })
    }

    pub(super) fn finish_after(self, time: Duration) -> Result<Vec<LoadOutcome>> {
        std::thread::sleep(time);
        self.over.store(true, Ordering::Relaxed);
        let threads = self.threads.into_iter();
        let outcomes = threads.map(|thread| thread.join().expect("the load returns its errors"));
        outcomes.collect()
    }
}
