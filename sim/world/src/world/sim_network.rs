//! The network as a simulated process sees it.

use super::kernel::ProcessHandle;
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
pub struct SimNetwork(ProcessHandle);

/// Accepts connections on a simulated port.
pub struct SimListener {
    handle: ProcessHandle,
    port: u16,
}

/// The receiving half of a simulated connection.
pub struct SimReader {
    handle: ProcessHandle,
    flow: FlowId,
}

/// The sending half of a simulated connection.
pub struct SimWriter {
    handle: ProcessHandle,
    flow: FlowId,
}

impl SimNetwork {
    /// The network of a process.
    pub(super) const fn new(handle: ProcessHandle) -> Self {
        Self(handle)
    }

    /// Whether this process waits for room in a window to write something.
    pub fn has_waiting_writer(&self) -> bool {
        let ProcessHandle { kernel, id, .. } = &self.0;
        kernel.with(|state, _| state.network.has_waiting_writer(*id))
    }

    /// How many units with data this process has sent so far, in all its lives and whatever
    /// became of them. While it sends nothing, nothing that it asks for can reach anybody.
    pub fn units_sent(&self) -> u64 {
        let ProcessHandle { kernel, id, .. } = &self.0;
        kernel.with(|state, _| state.network.units_sent(*id))
    }
}

/// Both halves of a connection on which the owner sends over `flow`.
fn halves(handle: &ProcessHandle, flow: FlowId) -> (SimReader, SimWriter) {
    (
        SimReader {
            handle: handle.clone(),
            flow: flow.back(),
        },
        SimWriter {
            handle: handle.clone(),
            flow,
        },
    )
}

/// An attempt to connect, given up when dropped.
struct Attempt<'a> {
    handle: &'a ProcessHandle,
    connect: ConnectId,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        // Behind the fence there is nothing to give up.
        let _ = self.handle.act(|state, now_ns| {
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
        let handle = &self.0;
        let connect = handle.act(|state, now_ns| {
            let (to, port) = resolve(address, handle.id, &state.names)?;
            state.may_open(handle.id)?;
            Ok::<_, io::Error>(state.on_network(now_ns, |network, context| {
                network.connect(context, handle.id, to, port)
            }))
        })??;
        let attempt = Attempt { handle, connect };
        let flow = poll_fn(|context| {
            match handle.act(|state, _| state.network.poll_connect(connect, context.waker())) {
                Ok(polled) => polled,
                Err(over) => Poll::Ready(Err(over)),
            }
        })
        .await?;
        drop(attempt);
        Ok(halves(handle, flow))
    }

    async fn listen(&self, address: &str) -> io::Result<SimListener> {
        let port = self.0.act(|state, _| {
            let port = parse_port(address, self.0.id, &state.names)?;
            state.network.listen(self.0.id, port)
        })??;
        Ok(SimListener {
            handle: self.0.clone(),
            port,
        })
    }
}

impl Listener for SimListener {
    type Reader = SimReader;
    type Writer = SimWriter;

    async fn accept(&mut self) -> io::Result<(SimReader, SimWriter, String)> {
        let (flow, peer, peer_port) = poll_fn(|context| {
            let polled = self.handle.act(|state, _| {
                // Who waits goes on waiting.
                if state.network.has_waiting(self.handle.id, self.port)
                    && let Err(refused) = state.may_open(self.handle.id)
                {
                    return Poll::Ready(Err(refused));
                }
                state
                    .network
                    .poll_accept(self.handle.id, self.port, context.waker())
            });
            match polled {
                Ok(polled) => polled,
                Err(over) => Poll::Ready(Err(over)),
            }
        })
        .await?;
        let (reader, writer) = halves(&self.handle, flow);
        Ok((
            reader,
            writer,
            format!("{}:{peer_port}", host_address(peer)),
        ))
    }

    fn local_address(&self) -> String {
        format!("{}:{}", host_address(self.handle.id), self.port)
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        // Behind the fence the port is closed already.
        let _ = self.handle.act(|state, now_ns| {
            state.on_network(now_ns, |network, context| {
                network.close_listener(context, self.handle.id, self.port)
            });
        });
    }
}

impl StreamReader for SimReader {
    async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        poll_fn(|task| {
            let polled = self.handle.act(|state, now_ns| {
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
        let _ = self.handle.act(|state, now_ns| {
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
            let polled = self.handle.act(|state, now_ns| {
                if !begun && state.passes(now_ns, self.handle.id, CrashPoint::BeforeSend) {
                    return Poll::Pending;
                }
                begun = true;
                let polled = state.on_network(now_ns, |network, context| {
                    network.poll_write(context, self.flow, &mut data, task.waker())
                });
                if polled.is_ready() && state.passes(now_ns, self.handle.id, CrashPoint::AfterSend)
                {
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
        let _ = self.handle.act(|state, now_ns| {
            state.on_network(now_ns, |network, context| {
                network.close_writer(context, self.flow)
            });
        });
    }
}
