//! A connection after its handshake: frames out on the one that this node opened, frames in on the
//! one that the peer opened.
//!
//! Owns the reading and writing and the watch over a silent peer. The side that opened a connection
//! probes it, the other side answers, so both notice when either direction stops: the one misses
//! the answers, the other the probes. Whatever ends a connection is reported once; a connection
//! that was dropped from its session ends without a word.
//!
//! Frames that arrive before the session is up are kept, and nothing more is read meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior};

use super::codec::{self, CodecError, Decoder, Item};
use super::peer::PeerLink;
use super::queue::Outbox;
use super::session::{Signal, Slot};
use super::status::{Cause, Ended};
use super::types::{Class, Frame, LinkEvents, LinkLimits};

/// A connection that has entered its session.
pub(super) struct Connection {
    pub(super) peer: Arc<PeerLink>,
    pub(super) events: Arc<dyn LinkEvents>,
    pub(super) limits: Arc<LinkLimits>,
    pub(super) signal: Arc<Signal>,
    pub(super) slot: Slot,
}

impl Connection {
    /// Works until the connection ends, and reports the end.
    pub(super) async fn run(self, stream: TcpStream) {
        let mut traffic = Traffic::new(&self);
        if let Some(ended) = traffic.run(stream).await {
            self.peer.lost(&*self.events, &self.signal, &ended);
        }
    }
}

struct Traffic<'a> {
    connection: &'a Connection,
    decoder: Decoder,
    outbox: Outbox,
    frames: Vec<Frame>,
    /// The newest probe that waits for its answer to be written. Older ones need none.
    pong: Option<u64>,
    watch: Watch,
    start: Instant,
}

impl<'a> Traffic<'a> {
    fn new(connection: &'a Connection) -> Traffic<'a> {
        let now = Instant::now();
        Traffic {
            connection,
            decoder: Decoder::new(connection.limits.max_message_bytes),
            outbox: Outbox::new(connection.slot),
            frames: Vec::new(),
            pong: None,
            watch: Watch::new(now, &connection.limits),
            start: now,
        }
    }

    /// `None` if the connection was dropped from its session.
    async fn run(&mut self, mut stream: TcpStream) -> Option<Ended> {
        let (mut reader, mut writer) = stream.split();
        let signal = &self.connection.signal;
        let mut ticks = tokio::time::interval(self.watch.tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if signal.is_killed() {
                return None;
            }
            self.hand_over();
            self.refill();
            let may_read = self.frames.is_empty();
            tokio::select! {
                () = signal.nudge.notified() => {}
                now = ticks.tick() => {
                    if let Some(ended) = self.tick(now) {
                        return Some(ended);
                    }
                }
                written = writer.write(self.outbox.pending()), if !self.outbox.pending().is_empty() => {
                    match written {
                        Ok(bytes) => self.outbox.advance(bytes),
                        Err(error) => return Some(Ended::new(Cause::Closed, error)),
                    }
                }
                read = reader.read_buf(self.decoder.buffer()), if may_read => {
                    let ended = match read {
                        Ok(0) => Err(Ended::new(Cause::Closed, "the peer closed the connection")),
                        Ok(_) => self.take_in(),
                        Err(error) => Err(Ended::new(Cause::Closed, error)),
                    };
                    if let Err(ended) = ended {
                        return Some(ended);
                    }
                }
            }
        }
    }

    fn hand_over(&mut self) {
        if !self.frames.is_empty() && self.connection.signal.is_up() {
            self.connection
                .peer
                .deliver(&*self.connection.events, &mut self.frames);
        }
    }

    fn refill(&mut self) {
        if let Some(number) = self.pong.take_if(|_| self.outbox.pending().is_empty()) {
            codec::encode_pong(self.outbox.control(), number);
        }
        if self.connection.signal.is_up() {
            let sent = self.outbox.refill(&self.connection.peer.queue);
            self.connection.peer.count_sent(sent);
        }
    }

    fn tick(&mut self, now: Instant) -> Option<Ended> {
        if let Some(silence) = self.watch.tick(now) {
            let reason = format!("nothing arrived for {} ms", silence.as_millis());
            return Some(Ended::new(Cause::Timeout, reason));
        }
        if self.connection.slot.is_out() && self.watch.probe(now) {
            // The number is the time of sending, so the answer tells the round trip by itself.
            let number = (now - self.start).as_micros() as u64;
            codec::encode_ping(self.outbox.control(), number);
        }
        None
    }

    /// Decodes all that has been read. The frames in front of a fault are delivered.
    fn take_in(&mut self) -> Result<(), Ended> {
        self.watch.arrived(Instant::now());
        let result = loop {
            match self.decoder.next() {
                Ok(Some(item)) => {
                    if let Err(ended) = self.sort(item) {
                        break Err(ended);
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(fault(&error)),
            }
        };
        self.hand_over();
        result
    }

    fn sort(&mut self, item: Item) -> Result<(), Ended> {
        let slot = self.connection.slot;
        match item {
            Item::Message(frame)
                if !slot.is_out() && slot.is_bulk() == (frame.class == Class::Bulk) =>
            {
                self.frames.push(frame);
            }
            Item::Ping(number) if !slot.is_out() => self.pong = Some(number),
            Item::Pong(number) if slot.is_out() => {
                let sent = Duration::from_micros(number);
                let round_trip = self.start.elapsed().saturating_sub(sent);
                self.connection.peer.set_round_trip(round_trip);
            }
            _ => {
                let reason = "a frame that does not belong on this connection";
                return Err(Ended::new(Cause::Malformed, reason));
            }
        }
        Ok(())
    }
}

fn fault(error: &CodecError) -> Ended {
    let cause = match error {
        CodecError::Oversized { .. } => Cause::Oversized,
        CodecError::Malformed(_) => Cause::Malformed,
    };
    Ended::new(cause, error)
}

/// Tells a silent peer from a stall of this node itself. No clock: the time is an argument.
struct Watch {
    arrived: Instant,
    ticked: Instant,
    probed: Instant,
    tick: Duration,
    ping_interval: Duration,
    dead_after: Duration,
}

impl Watch {
    fn new(now: Instant, limits: &LinkLimits) -> Watch {
        Watch {
            arrived: now,
            ticked: now,
            probed: now,
            tick: (limits.ping_interval / 2).max(Duration::from_millis(1)),
            ping_interval: limits.ping_interval,
            dead_after: limits.dead_after,
        }
    }

    fn arrived(&mut self, now: Instant) {
        self.arrived = now;
    }

    /// For how long the peer has been silent, if that is too long. After a late tick the silence
    /// counts from now: this thread did not run, so it cannot say what would have arrived.
    fn tick(&mut self, now: Instant) -> Option<Duration> {
        if now - self.ticked > 3 * self.tick {
            self.arrived = now;
        }
        self.ticked = now;
        let silence = now.saturating_duration_since(self.arrived);
        (silence >= self.dead_after).then_some(silence)
    }

    /// Whether a probe is due; it counts as sent.
    fn probe(&mut self, now: Instant) -> bool {
        let due = now - self.probed + self.tick / 2 >= self.ping_interval;
        if due {
            self.probed = now;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_silent_peer_is_given_up_in_under_a_second() {
        let start = Instant::now();
        let mut watch = Watch::new(start, &LinkLimits::default());
        let dead = (1..).find(|n| watch.tick(start + ms(100 * n)).is_some());
        assert_eq!(dead, Some(8));
    }

    #[test]
    fn a_stall_of_this_node_is_not_blamed_on_the_peer() {
        let start = Instant::now();
        let mut watch = Watch::new(start, &LinkLimits::default());
        assert_eq!(watch.tick(start + ms(5000)), None);
        let dead = (1..).find(|n| watch.tick(start + ms(5000 + 100 * n)).is_some());
        assert_eq!(dead, Some(8));
    }

    #[test]
    fn probes_go_out_at_their_interval() {
        let start = Instant::now();
        let mut watch = Watch::new(start, &LinkLimits::default());
        let probes = (1..=20)
            .filter(|n| watch.probe(start + ms(100 * n)))
            .count();
        assert_eq!(probes, 10);
    }
}
