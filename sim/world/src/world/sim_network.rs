//! The network as a simulated process sees it.

use super::environment::Actor;
use crate::fault::CrashPoint;
use crate::network::{ConnectId, FlowId, host_address, parse_port, resolve};
use bytes::{Bytes, BytesMut};
use std::future::poll_fn;
use std::io;
use std::task::Poll;
use veridical_env::{Listener, Network, StreamReader, StreamWriter};

/// The sockets of a process. Hosts are called by the name of their process or by their
/// number; `127.0.0.1` and `localhost` are the process itself.
#[derive(Clone)]
pub struct SimNetwork(Actor);

/// Accepts connections on a simulated port.
pub struct SimListener {
    actor: Actor,
    port: u16,
}

/// The receiving half of a simulated connection.
pub struct SimReader {
    actor: Actor,
    flow: FlowId,
}

/// The sending half of a simulated connection.
pub struct SimWriter {
    actor: Actor,
    flow: FlowId,
}

impl SimNetwork {
    /// The network of a process.
    pub(super) const fn new(actor: Actor) -> Self {
        Self(actor)
    }
}

/// Both halves of a connection on which the owner sends over `flow`.
fn halves(actor: &Actor, flow: FlowId) -> (SimReader, SimWriter) {
    (
        SimReader {
            actor: actor.clone(),
            flow: flow.back(),
        },
        SimWriter {
            actor: actor.clone(),
            flow,
        },
    )
}

/// An attempt to connect, given up when dropped.
struct Attempt<'a> {
    actor: &'a Actor,
    connect: ConnectId,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        // Behind the fence there is nothing to give up.
        let _ = self.actor.act(|state, now_ns| {
            state.on_network(now_ns, |network, context| {
                network.cancel_connect(context, self.connect)
            });
        });
    }
}

impl Network for SimNetwork {
    type Reader = SimReader;
    type Writer = SimWriter;
    type Listener = SimListener;

    async fn connect(&self, address: &str) -> io::Result<(SimReader, SimWriter)> {
        let actor = &self.0;
        let connect = actor.act(|state, now_ns| {
            let (to, port) = resolve(address, actor.id, &state.names)?;
            Ok::<_, io::Error>(state.on_network(now_ns, |network, context| {
                network.connect(context, actor.id, to, port)
            }))
        })??;
        let attempt = Attempt { actor, connect };
        let flow = poll_fn(|context| {
            match actor.act(|state, _| state.network.poll_connect(connect, context.waker())) {
                Ok(polled) => polled,
                Err(over) => Poll::Ready(Err(over)),
            }
        })
        .await?;
        drop(attempt);
        Ok(halves(actor, flow))
    }

    async fn listen(&self, address: &str) -> io::Result<SimListener> {
        let port = self.0.act(|state, _| {
            let port = parse_port(address, self.0.id, &state.names)?;
            state.network.listen(self.0.id, port)
        })??;
        Ok(SimListener {
            actor: self.0.clone(),
            port,
        })
    }
}

impl Listener for SimListener {
    type Reader = SimReader;
    type Writer = SimWriter;

    async fn accept(&mut self) -> io::Result<(SimReader, SimWriter, String)> {
        let (flow, peer, peer_port) = poll_fn(|context| {
            let polled = self.actor.act(|state, _| {
                state
                    .network
                    .poll_accept(self.actor.id, self.port, context.waker())
            });
            match polled {
                Ok(polled) => polled,
                Err(over) => Poll::Ready(Err(over)),
            }
        })
        .await?;
        let (reader, writer) = halves(&self.actor, flow);
        Ok((
            reader,
            writer,
            format!("{}:{peer_port}", host_address(peer)),
        ))
    }

    fn local_address(&self) -> String {
        format!("{}:{}", host_address(self.actor.id), self.port)
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        // Behind the fence the port is closed already.
        let _ = self.actor.act(|state, now_ns| {
            state.on_network(now_ns, |network, context| {
                network.close_listener(context, self.actor.id, self.port)
            });
        });
    }
}

impl StreamReader for SimReader {
    async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        poll_fn(|task| {
            let polled = self.actor.act(|state, now_ns| {
                state.on_network(now_ns, |network, context| {
                    network.poll_read(context, self.flow, buffer, task.waker())
                })
            });
            match polled {
                Ok(polled) => polled,
                Err(over) => Poll::Ready(Err(over)),
            }
        })
        .await
    }
}

impl Drop for SimReader {
    fn drop(&mut self) {
        // Behind the fence there is nothing to close: a crash says nothing to anybody.
        let _ = self.actor.act(|state, now_ns| {
            state.on_network(now_ns, |network, context| {
                network.close_reader(context, self.flow)
            });
        });
    }
}

impl StreamWriter for SimWriter {
    async fn write(&mut self, data: Bytes) -> io::Result<()> {
        let mut data = data;
        let mut begun = false;
        poll_fn(|task| {
            let polled = self.actor.act(|state, now_ns| {
                if !begun && state.passes(now_ns, self.actor.id, CrashPoint::BeforeSend) {
                    return Poll::Pending;
                }
                begun = true;
                let polled = state.on_network(now_ns, |network, context| {
                    network.poll_write(context, self.flow, &mut data, task.waker())
                });
                if polled.is_ready() && state.passes(now_ns, self.actor.id, CrashPoint::AfterSend) {
                    return Poll::Pending;
                }
                polled
            });
            match polled {
                Ok(polled) => polled,
                Err(over) => Poll::Ready(Err(over)),
            }
        })
        .await
    }
}

impl Drop for SimWriter {
    fn drop(&mut self) {
        // Behind the fence there is nothing to close: a crash says nothing to anybody.
        let _ = self.actor.act(|state, now_ns| {
            state.on_network(now_ns, |network, context| {
                network.close_writer(context, self.flow)
            });
        });
    }
}
