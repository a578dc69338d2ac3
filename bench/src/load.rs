//! The load generator: one thread, many connections, each with one batch of requests in flight.
//!
//! Owns the connections and the event loop, and measures the time from a batch's intended send
//! time to its last reply. It is the same for every server and does as little as it can per
//! request, because on a small machine it shares the processors with the server it measures.
//!
//! Not done here: what a request looks like (`requests`), when it is due (`schedule`), where a
//! reply ends (`replies`), and which server runs (`servers`).
//!
//! How it fails: an error reply, a closed connection, an interrupt, or a minute without a single
//! reply ends the run with an error. Afterwards the generator is of no further use.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::cpu::ProcessClock;
use crate::interrupt;
use crate::replies::ReplyCounter;
use crate::requests::{KeyOrder, Mix, RequestWriter, Shape};
use crate::schedule::{Next, Schedule, Stop, Timer};

/// Without a reply for this long, the server is taken for stuck.
pub(crate) const STALL: Duration = Duration::from_secs(60);

/// How long a poll may last before flags are looked at.
pub(crate) const TICK: Duration = Duration::from_millis(100);

const MAX_CLIENTS: usize = 10_000;
const MAX_PIPELINE: u64 = 10_000;
const READ_BUFFER_BYTES: usize = 256 * 1024;
const EVENTS_PER_POLL: usize = 1024;

/// The longest latency told from longer ones.
pub(crate) const MAX_LATENCY_NS: u64 = 600_000_000_000;

/// How many connections do what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadSpec {
    pub(crate) address: SocketAddr,
    pub(crate) clients: usize,
    /// Requests per batch.
    pub(crate) pipeline: u64,
    /// Requests per second over all connections; none sends as fast as replies come.
    pub(crate) rate: Option<f64>,
    pub(crate) shape: Shape,
}

impl LoadSpec {
    /// One request after the other on random keys of 16 bytes, as fast as replies come, with the
    /// first seed.
    pub(crate) fn at_random(
        address: SocketAddr,
        clients: usize,
        mix: Mix,
        (keys, value_bytes): (u64, usize),
    ) -> Self {
        let shape = Shape {
            mix,
            order: KeyOrder::Random,
            keys,
            key_bytes: 16,
            value_bytes,
            seed: 1,
        };
        Self {
            address,
            clients,
            pipeline: 1,
            rate: None,
            shape,
        }
    }

    /// The same with other random numbers.
    pub(crate) fn seeded(mut self, seed: u64) -> Self {
        self.shape.seed = seed;
        self
    }
}

/// What a run gave.
#[derive(Debug)]
pub(crate) struct LoadOutcome {
    pub(crate) operations: u64,
    /// Null replies among them.
    pub(crate) misses: u64,
    pub(crate) elapsed: Duration,
    /// Per batch, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// Processor time of the generator.
    pub(crate) generator_cpu: Duration,
}

impl LoadOutcome {
    pub(crate) fn operations_per_s(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64()
    }
}

/// An open set of connections, ready for one run after the other.
pub(crate) struct Generator {
    spec: LoadSpec,
    poll: Poll,
    timer: Timer,
    connections: Vec<Connection>,
    writer: RequestWriter,
    buffer: Vec<u8>,
}

impl Generator {
    /// Opens the connections.
    ///
    /// # Errors
    /// If the server cannot be reached or the figures make no sense.
    pub(crate) fn connect(spec: LoadSpec) -> Result<Self> {
        ensure!(
            (1..=MAX_CLIENTS).contains(&spec.clients),
            "1 to {MAX_CLIENTS} clients"
        );
        ensure!(
            (1..=MAX_PIPELINE).contains(&spec.pipeline),
            "a pipeline of 1 to {MAX_PIPELINE}"
        );
        ensure!(
            spec.rate.is_none_or(|rate| rate > 0.0),
            "the rate must be above zero"
        );
        let poll = Poll::new()?;
        let timer = Timer::new()?;
        let timer_token = Token(spec.clients);
        poll.registry().register(
            &mut SourceFd(&timer.descriptor()),
            timer_token,
            Interest::READABLE,
        )?;
        let connections = (0..spec.clients)
            .map(|index| Connection::open(spec.address, &poll, Token(index)))
            .collect::<Result<Vec<_>>>()?;
        let writer = RequestWriter::new(spec.shape)?;
        Ok(Self {
            spec,
            poll,
            timer,
            connections,
            writer,
            buffer: vec![0; READ_BUFFER_BYTES],
        })
    }

    /// Offers load until `stop`, and waits for all replies.
    ///
    /// # Errors
    /// See the module.
    pub(crate) fn run(&mut self, stop: &Stop) -> Result<LoadOutcome> {
        let clock = ProcessClock::own();
        let cpu_before = clock.read()?;
        let misses_before = self.misses();
        let start = Instant::now();
        let mut run = Run {
            schedule: Schedule::new(start, self.spec.pipeline, self.spec.rate, stop),
            idle: (0..self.connections.len()).rev().collect(),
            in_flight: 0,
            armed: None,
            latency: Histogram::new_with_bounds(1, MAX_LATENCY_NS, 3)
                .expect("the bounds are constants that a histogram accepts"),
        };
        let end = self.drive(&mut run, start)?;
        Ok(LoadOutcome {
            operations: run.schedule.sent(),
            misses: self.misses() - misses_before,
            elapsed: end - start,
            latency: run.latency,
            generator_cpu: clock.read()?.saturating_sub(cpu_before),
        })
    }

    /// The event loop; returns the time of the last reply.
    fn drive(&mut self, run: &mut Run, start: Instant) -> Result<Instant> {
        let mut events = Events::with_capacity(EVENTS_PER_POLL);
        let mut last_reply = start;
        // The last moment at which there was an answer or nothing to answer.
        let mut alive = start;
        let mut finished = self.dispatch(run, start)?;
        while !finished || run.in_flight > 0 {
            if let Err(error) = self.poll.poll(&mut events, Some(TICK)) {
                ensure!(error.kind() == io::ErrorKind::Interrupted, error);
            }
            interrupt::check()?;
            for event in &events {
                let index = event.token().0;
                if index == self.connections.len() {
                    continue;
                }
                let Some(now) = self.advance(run, index)? else {
                    continue;
                };
                last_reply = now;
                // At once, so that the server has work while the other events are handled.
                self.dispatch(run, now)?;
            }
            let now = Instant::now();
            finished = self.dispatch(run, now)?;
            alive = if run.in_flight == 0 {
                now
            } else {
                alive.max(last_reply)
            };
            ensure!(now - alive <= STALL, "no reply for {} s", STALL.as_secs());
        }
        Ok(last_reply)
    }

    /// Starts every batch that is due while connections are free; true when none will be again.
    fn dispatch(&mut self, run: &mut Run, now: Instant) -> Result<bool> {
        while let Some(&index) = run.idle.last() {
            match run.schedule.next(now) {
                Next::Finished => return Ok(true),
                Next::NotBefore(due) => {
                    if run.armed != Some(due) {
                        self.timer.set(due - now)?;
                        run.armed = Some(due);
                    }
                    return Ok(false);
                }
                Next::Send { requests, intended } => {
                    run.idle.pop();
                    run.in_flight += 1;
                    self.connections[index].start(requests, intended, &mut self.writer)?;
                }
            }
        }
        Ok(false)
    }

    /// Moves bytes of one connection; the time if that completed its batch.
    fn advance(&mut self, run: &mut Run, index: usize) -> Result<Option<Instant>> {
        let connection = &mut self.connections[index];
        if !connection.advance(&mut self.buffer)? {
            return Ok(None);
        }
        let now = Instant::now();
        let waited = now.saturating_duration_since(connection.intended);
        run.latency
            .saturating_record((waited.as_nanos() as u64).max(1));
        run.in_flight -= 1;
        run.idle.push(index);
        Ok(Some(now))
    }

    fn misses(&self) -> u64 {
        self.connections
            .iter()
            .map(|connection| connection.counter.misses())
            .sum()
    }
}

/// The moving parts of one run.
///
/// Invariant: `idle.len() + in_flight == connections`.
struct Run {
    schedule: Schedule,
    idle: Vec<usize>,
    in_flight: usize,
    /// The moment for which the timer is set.
    armed: Option<Instant>,
    latency: Histogram<u64>,
}

/// One connection.
///
/// Invariants: `written <= out.len()`, `counter.replies() <= expected`; a batch is in flight
/// exactly while the latter is a strict inequality.
struct Connection {
    stream: TcpStream,
    out: Vec<u8>,
    written: usize,
    counter: ReplyCounter,
    expected: u64,
    intended: Instant,
}

impl Connection {
    fn open(address: SocketAddr, poll: &Poll, token: Token) -> Result<Self> {
        let stream = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(10))
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, token, interest)?;
        Ok(Self {
            stream,
            out: Vec::new(),
            written: 0,
            counter: ReplyCounter::new(),
            expected: 0,
            intended: Instant::now(),
        })
    }

    fn start(&mut self, requests: u64, at: Instant, writer: &mut RequestWriter) -> Result<()> {
        assert!(
            self.counter.replies() == self.expected,
            "a batch is still in flight"
        );
        self.out.clear();
        self.written = 0;
        for _ in 0..requests {
            writer.push(&mut self.out);
        }
        self.expected += requests;
        self.intended = at;
        self.write()
    }

    /// Writes and reads what can be; true if this completed the batch in flight.
    fn advance(&mut self, buffer: &mut [u8]) -> Result<bool> {
        self.write()?;
        let before = self.counter.replies();
        loop {
            match self.stream.read(buffer) {
                Ok(0) => bail!("the server closed a connection"),
                Ok(length) => {
                    self.counter.feed(&buffer[..length])?;
                    // A short read means that the socket is empty, and the poll, being edge
                    // triggered, tells of whatever comes later.
                    if length < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("reading replies"),
            }
        }
        let replies = self.counter.replies();
        ensure!(
            replies <= self.expected,
            "the server sent more replies than it got requests"
        );
        Ok(replies > before && replies == self.expected)
    }

    fn write(&mut self) -> Result<()> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(0) => bail!("the server closed a connection"),
                Ok(length) => self.written += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("writing requests"),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
