//! One run of the load against a process, with what it cost that process and others.
//!
//! It fails like the load, and on a run too short for a request or a read that finds nothing.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::cpu::ProcessClock;
use crate::load::{Generator, LoadOutcome, LoadSpec};
use crate::schedule::Stop;
use crate::stats::{Figures, quantile_us};

/// How long runs are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunLength {
    warm_up: Duration,
    measured: Duration,
}

impl RunLength {
    /// From seconds.
    ///
    /// # Errors
    /// If there are no such times.
    pub(crate) fn new(warm_up: f64, measured: f64) -> Result<Self> {
        Ok(Self {
            warm_up: Duration::try_from_secs_f64(warm_up)?,
            measured: Duration::try_from_secs_f64(measured)?,
        })
    }

    /// One run: its figures, with the processor time of the process with this clock, and that of
    /// others per operation meanwhile.
    ///
    /// # Errors
    /// See the module.
    pub(crate) fn run(
        &self,
        load: LoadSpec,
        clock: &ProcessClock,
        beside: &[ProcessClock],
    ) -> Result<(Figures, f64)> {
        let mut generator = Generator::connect(load)?;
        generator.run(&Stop::After(self.warm_up))?;
        let (cpu_before, beside_before) = (clock.read()?, sum(beside)?);
        let outcome = generator.run(&Stop::After(self.measured))?;
        let cpu = clock.read()?.saturating_sub(cpu_before);
        let beside = sum(beside)?.saturating_sub(beside_before);
        let figures = figures(&outcome, cpu)?;
        let beside = beside.as_nanos() as f64 / outcome.operations as f64;
        Ok((figures, beside))
    }
}

/// The figures of a run during which the server took so much processor time.
///
/// # Errors
/// It was too short for a request, or a read found nothing.
pub(crate) fn figures(outcome: &LoadOutcome, cpu: Duration) -> Result<Figures> {
    ensure!(
        outcome.operations > 0,
        "the run was too short for a single request"
    );
    ensure!(
        outcome.misses == 0,
        "{} reads of loaded keys found nothing",
        outcome.misses
    );
    let per_operation = |time: Duration| time.as_nanos() as f64 / outcome.operations as f64;
    Ok(Figures {
        operations_per_s: outcome.operations_per_s(),
        p50_us: quantile_us(&outcome.latency, 0.5),
        p99_us: quantile_us(&outcome.latency, 0.99),
        p999_us: quantile_us(&outcome.latency, 0.999),
        server_cpu_ns_per_operation: per_operation(cpu),
        generator_cpu_ns_per_operation: per_operation(outcome.generator_cpu),
    })
}

fn sum(clocks: &[ProcessClock]) -> Result<Duration> {
    clocks.iter().map(|clock| Ok(clock.read()?)).sum()
}
