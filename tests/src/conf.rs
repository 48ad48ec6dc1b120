//! Ordinary configurations, written with a few words.

use std::fmt::Write as _;

/// A configuration being put together.
#[derive(Clone, Debug)]
pub struct Conf {
    version: u8,
    global: String,
    scripts: String,
    instances: Vec<Instance>,
    groups: String,
}

impl Conf {
    /// One without instances.
    pub fn new(version: u8) -> Self {
        Self {
            version,
            global: String::new(),
            scripts: String::new(),
            instances: Vec::new(),
            groups: String::new(),
        }
    }

    /// Adds a line to `global_defs`.
    #[must_use]
    pub fn global(mut self, line: &str) -> Self {
        let _ = writeln!(self.global, "    {line}");
        self
    }

    /// Adds a `vrrp_script` with these lines.
    #[must_use]
    pub fn script(mut self, name: &str, lines: &[&str]) -> Self {
        let _ = write!(self.scripts, "vrrp_script {name} {{\n    {}\n}}\n", lines.join("\n    "));
        self
    }

    /// Adds an instance.
    #[must_use]
    pub fn with(mut self, instance: Instance) -> Self {
        self.instances.push(instance);
        self
    }

    /// Adds a `vrrp_sync_group` of these instances, with these lines.
    #[must_use]
    pub fn group(mut self, name: &str, members: &[&str], lines: &[&str]) -> Self {
        let (members, lines) = (members.join("\n        "), lines.join("\n    "));
        let _ = write!(
            self.groups,
            "vrrp_sync_group {name} {{\n    group {{\n        {members}\n    }}\n    {lines}\n}}\n"
        );
        self
    }

    /// The file.
    pub fn text(&self) -> String {
        let mut text = format!(
            "global_defs {{\n    router_id LAB\n    vrrp_version {}\n{}}}\n{}",
            self.version, self.global, self.scripts
        );
        for instance in &self.instances {
            text += &instance.text(self.version);
        }
        text + &self.groups
    }
}

/// One instance.
#[derive(Clone, Debug)]
pub struct Instance {
    name: String,
    interface: String,
    vrid: u8,
    priority: u8,
    interval: String,
    password: Option<String>,
    addresses: Vec<String>,
    lines: String,
}

impl Instance {
    /// `VI_1` on `eth0` with VRID 51, 192.0.2.250/24 and an interval of one second.
    pub fn new(priority: u8) -> Self {
        Self {
            name: "VI_1".to_owned(),
            interface: "eth0".to_owned(),
            vrid: 51,
            priority,
            interval: "1".to_owned(),
            password: None,
            addresses: vec!["192.0.2.250/24".to_owned()],
            lines: String::new(),
        }
    }

    /// With another name and VRID.
    #[must_use]
    pub fn named(mut self, name: &str, vrid: u8) -> Self {
        (self.name, self.vrid) = (name.to_owned(), vrid);
        self
    }

    /// On another interface.
    #[must_use]
    pub fn on(mut self, interface: &str) -> Self {
        interface.clone_into(&mut self.interface);
        self
    }

    /// With another interval, as it stands behind `advert_int`.
    #[must_use]
    pub fn every(mut self, interval: &str) -> Self {
        interval.clone_into(&mut self.interval);
        self
    }

    /// With `auth_type PASS`.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// With other addresses.
    #[must_use]
    pub fn holding(mut self, addresses: &[&str]) -> Self {
        self.addresses = addresses.iter().map(|address| (*address).to_owned()).collect();
        self
    }

    /// With a further line.
    #[must_use]
    pub fn line(mut self, line: &str) -> Self {
        let _ = writeln!(self.lines, "    {line}");
        self
    }

    /// Tracks scripts or interfaces, one a line.
    #[must_use]
    pub fn track(mut self, block: &str, what: &[&str]) -> Self {
        let inner = what.join("\n        ");
        let _ = write!(self.lines, "    {block} {{\n        {inner}\n    }}\n");
        self
    }

    /// A configuration with this instance alone.
    pub fn alone(self, version: u8) -> String {
        Conf::new(version).with(self).text()
    }

    fn text(&self, version: u8) -> String {
        let Self { name, interface, vrid, priority, interval, lines, .. } = self;
        let auth = match (&self.password, version) {
            (Some(password), 2) => format!(
                "    authentication {{\n        auth_type PASS\n        auth_pass {password}\n    }}\n"
            ),
            _ => String::new(),
        };
        let addresses = self.addresses.join("\n        ");
        format!(
            "vrrp_instance {name} {{\n    state BACKUP\n    interface {interface}\n    \
             virtual_router_id {vrid}\n    priority {priority}\n    advert_int {interval}\n{auth}    \
             virtual_ipaddress {{\n        {addresses}\n    }}\n{lines}}}\n"
        )
    }
}
