//! nginx from the distribution on a host, answering with the host's name.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::daemon::{signal, tree};
use crate::lab::Lab;
use crate::wait::wait_until;

/// A running nginx. Killed when dropped.
#[derive(Debug)]
pub struct Web {
    main: Child,
    prefix: PathBuf,
}

impl Web {
    /// Starts nginx on a host and waits until it listens.
    ///
    /// # Errors
    /// There is no nginx, or it does not come up; the message has its log.
    pub fn start(lab: &Lab, host: &str) -> Result<Self> {
        let prefix = lab.dir().join(format!("{host}.nginx"));
        std::fs::create_dir_all(&prefix)?;
        let conf = lab.write(&format!("{host}.nginx.conf"), &conf(&prefix, host))?;
        let log = std::fs::File::create(prefix.join("out.log"))?;
        let main = lab
            .ns(host)
            .command("nginx")
            .arg("-p")
            .arg(&prefix)
            .arg("-c")
            .arg(conf)
            .arg("-e")
            .arg(prefix.join("error.log"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("start nginx")?;
        let web = Self { main, prefix };
        let up = || lab.ns(host).sh("ss -Hltn 'sport = :80' | grep -q .").is_ok();
        wait_until("nginx listens", Duration::from_secs(30), up).with_context(|| web.log())?;
        Ok(web)
    }

    /// The process that was started, the parent of the workers.
    pub fn pid(&self) -> u32 {
        self.main.id()
    }

    /// Kills all its processes.
    pub fn kill(&mut self) {
        for pid in tree(self.main.id()) {
            signal(pid, Signal::SIGKILL);
        }
        let _ = self.main.wait();
    }

    fn log(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.prefix.join(name)).unwrap_or_default();
        format!("nginx: {}{}", read("out.log"), read("error.log"))
    }

    /// Leaves it running.
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        if matches!(self.main.try_wait(), Ok(None)) {
            self.kill();
        }
    }
}

fn conf(prefix: &Path, host: &str) -> String {
    let prefix = prefix.display();
    format!(
        "daemon off;
worker_processes 1;
pid {prefix}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    default_type text/plain;
    client_body_temp_path {prefix}/body;
    proxy_temp_path {prefix}/proxy;
    fastcgi_temp_path {prefix}/fastcgi;
    uwsgi_temp_path {prefix}/uwsgi;
    scgi_temp_path {prefix}/scgi;
    server {{
        listen 80 backlog=4096;
        location / {{ return 200 \"{host}\\n\"; }}
    }}
}}
"
    )
}
