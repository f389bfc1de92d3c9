//! The two stores as processes: ours and etcd, with as many members each.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use veridical_proto::etcdserverpb as api;

use super::api::Api;
use crate::member::{Cluster, READY_TIMEOUT, free_port};
use crate::packages;

/// The program `etcd` of Debian's package etcd-server (version 3.4).
pub struct Etcd(PathBuf);

impl Etcd {
    /// `None` where there is no etcd, after printing why. In CI that is a failure.
    pub fn installed() -> Option<Self> {
        packages::program("etcd", "etcd-server").map(Self)
    }
}

/// A member of etcd.
pub struct EtcdMember {
    arguments: Vec<String>,
    program: PathBuf,
    client_port: u16,
    child: Option<Child>,
    _folder: TempDir,
}

impl EtcdMember {
    /// `host:port` for clients.
    pub fn client_address(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    /// Starts the process.
    pub fn start(&mut self) {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ETCD_") {
                command.env_remove(name);
            }
        }
        let child = command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd starts");
        self.child = Some(child);
    }

    /// Tells it to end, and waits.
    pub fn end(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let sent = Command::new("kill").arg(child.id().to_string()).status();
        assert!(sent.expect("kill runs").success());
        child.wait().expect("it has ended");
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for EtcdMember {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts that many members of a new cluster.
pub fn start_etcd(etcd: &Etcd, size: usize) -> Vec<EtcdMember> {
    let ports: Vec<(u16, u16)> = (0..size).map(|_| (free_port(), free_port())).collect();
    let initial: Vec<String> = (0..size)
        .map(|number| format!("m{number}=http://127.0.0.1:{}", ports[number].1))
        .collect();
    let mut members: Vec<EtcdMember> = (0..size)
        .map(|number| {
            let folder = tempfile::tempdir().expect("a folder");
            let client_url = format!("http://127.0.0.1:{}", ports[number].0);
            let peer_url = format!("http://127.0.0.1:{}", ports[number].1);
            EtcdMember {
                arguments: vec![
                    format!("--name=m{number}"),
                    format!("--data-dir={}", folder.path().join("data").display()),
                    format!("--listen-client-urls={client_url}"),
                    format!("--advertise-client-urls={client_url}"),
                    format!("--listen-peer-urls={peer_url}"),
                    format!("--initial-advertise-peer-urls={peer_url}"),
                    format!("--initial-cluster={}", initial.join(",")),
                ],
                program: etcd.0.clone(),
                client_port: ports[number].0,
                child: None,
                _folder: folder,
            }
        })
        .collect();
    members.iter_mut().for_each(EtcdMember::start);
    members
}

/// Both stores, empty at the beginning.
pub struct Pair {
    ours: Cluster,
    etcd: Vec<EtcdMember>,
    our_apis: Vec<Api>,
    etcd_apis: Vec<Api>,
}

impl Pair {
    pub async fn start(etcd: &Etcd, size: usize) -> Self {
        let etcd = start_etcd(etcd, size);
        let ours = Cluster::start_without_waiting(size, &[]);
        let addresses = ours.addresses();
        let our_apis = addresses.iter().map(|address| Api::new(address));
        let etcd_apis = etcd.iter().map(|member| Api::new(&member.client_address()));
        let pair = Self {
            our_apis: our_apis.collect(),
            etcd_apis: etcd_apis.collect(),
            ours,
            etcd,
        };
        pair.wait_until_ready().await;
        pair
    }

    /// Our member of that number, and that of etcd.
    pub fn apis(&self, member: usize) -> (&Api, &Api) {
        (&self.our_apis[member], &self.etcd_apis[member])
    }

    pub fn size(&self) -> usize {
        self.etcd.len()
    }

    /// The end of a process, and a start with the same data; returns once all serve again.
    /// Ours is killed. etcd 3.4 is told to end: killed behind a refused transaction it may
    /// come back with another revision.
    pub async fn restart(&mut self, member: usize) {
        self.ours.members[member].kill();
        self.etcd[member].end();
        self.ours.members[member].start();
        self.etcd[member].start();
        self.wait_until_ready().await;
    }

    /// Waits until every member answers a linearizable read, and so knows all that was
    /// acknowledged.
    pub async fn wait_until_ready(&self) {
        for api in self.our_apis.iter().chain(&self.etcd_apis) {
            wait_until_ready(api).await;
        }
    }
}

/// Waits until a member answers a linearizable read.
pub async fn wait_until_ready(api: &Api) {
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        let read = api::RangeRequest {
            key: "ready".into(),
            ..api::RangeRequest::default()
        };
        let answer = api
            .unary::<_, api::RangeResponse>("/etcdserverpb.KV/Range", read)
            .await;
        let Err(error) = answer else {
            return;
        };
        assert!(Instant::now() < deadline, "it does not serve: {error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
