//! The one commented TOML file of `peri-appliance`; unknown keys are refused by name.
//!
//! Only the supervisor reads it. Roles get what they need in their start message, as values and descriptors.

use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A configuration that cannot be used, with cause and remedy.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration {path}: {source}; give its path with --config")]
    Read {
        /// The path tried.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, or a key that does not exist, or a value of the wrong type.
    #[error("{path}: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// The parser's word, with line and key.
        source: Box<toml::de::Error>,
    },
    /// A value that cannot work.
    #[error("{path}: {key} {what}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What is wrong and how to mend it.
        what: String,
    },
}

/// The whole file. See `peri-appliance config --example` for the commented form.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where everything that must survive lies: sealed store, keeper, scribe, database cluster.
    pub data: PathBuf,
    /// Where sockets lie; may be lost at a reboot.
    pub run: PathBuf,
    /// The provisioning data of the order (public): made by `peri claim new`.
    pub provisioning: PathBuf,
    /// Where the root of the X file lies.
    pub root_store: RootStoreConfig,
    /// The database; without this section a private cluster is run.
    #[serde(default)]
    pub database: DatabaseConfig,
    /// The page and the interface for programs; without this section clients reach the appliance by its local socket only.
    pub portal: Option<PortalConfig>,
    /// Users of the roles.
    #[serde(default)]
    pub users: UsersConfig,
    /// Name resolution for cameras given by name.
    #[serde(default)]
    pub dns: DnsConfig,
    /// What this host cannot do and the installer accepts; each goes to the page and the ledger.
    #[serde(default)]
    pub accept: AcceptConfig,
    /// Numbers that tests and benchmarks shorten; see the fields.
    #[serde(default)]
    pub timing: TimingConfig,
}

/// `[root_store]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootStoreConfig {
    /// A TPM 2.0 character device (`/dev/tpmrm0`) or the unix socket of a swtpm.
    pub tpm: PathBuf,
    /// Where a swtpm keeps its state; must be another file system than `data`. Leave out for a hardware TPM.
    pub state: Option<PathBuf>,
    /// Accept the root on the same disk as the data: a thief of that disk then has both.
    #[serde(default)]
    pub same_disk: bool,
}

/// `[database]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseConfig {
    /// Socket directory of a PostgreSQL that somebody else runs. Left out: a private cluster below `data`.
    pub socket_dir: Option<PathBuf>,
    /// Where PostgreSQL's programs lie. Left out: see [`Config::postgres_dir`].
    pub bin_dir: Option<PathBuf>,
}

/// `[portal]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortalConfig {
    /// Where browsers connect to (TLS 1.3).
    pub listen: SocketAddr,
    /// Names and addresses of this appliance, the usual one first. Its authority can vouch for these alone; another list makes
    /// another authority, which every browser must import anew.
    pub names: Vec<String>,
}

/// `[users]`: names of system users (made by `scripts/setup`) and the numeric range of recorders.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UsersConfig {
    /// User of keeper.
    pub keeper: String,
    /// User of scribe.
    pub scribe: String,
    /// User of portal.
    pub portal: String,
    /// User of the private PostgreSQL.
    pub postgres: String,
    /// First uid of recorders; needs no entry in `/etc/passwd`.
    pub recorder_first: u32,
    /// Number of uids of recorders: the largest number of cameras.
    pub recorder_count: u32,
}

impl Default for UsersConfig {
    fn default() -> Self {
        Self {
            keeper: "peri-keeper".into(),
            scribe: "peri-scribe".into(),
            portal: "peri-portal".into(),
            postgres: "peri-postgres".into(),
            recorder_first: 64_000,
            recorder_count: 512,
        }
    }
}

/// `[dns]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DnsConfig {
    /// Resolvers, each an address with optional port (53 if left out).
    pub resolvers: Vec<Resolver>,
}

/// One resolver's address.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub struct Resolver(pub SocketAddr);

impl TryFrom<String> for Resolver {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse::<SocketAddr>()
            .or_else(|_| text.parse::<std::net::IpAddr>().map(|ip| SocketAddr::new(ip, 53)))
            .map(Self)
            .map_err(|_| format!("{text:?} is not an address of a resolver; write 192.0.2.53 or [2001:db8::53]:53"))
    }
}

/// `[accept]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AcceptConfig {
    /// Start on a kernel without Landlock.
    pub no_landlock: bool,
}

/// `[timing]`: each value must be positive and can only shorten what `domain::limits` allows.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimingConfig {
    /// Longest epoch in seconds.
    pub epoch_secs: u32,
    /// Seconds between re-keyings of the X file.
    pub rekey_secs: u32,
    /// Seconds of retention below the profile's.
    pub retention_secs: u32,
}

impl Default for TimingConfig {
    fn default() -> Self {
        use peri_domain::limits::{EPOCH_MAX, REKEY_EVERY, RETENTION_DEFAULT};
        let secs = |d: core::time::Duration| u32::try_from(d.as_secs()).expect("limits are hours, not centuries");
        Self { epoch_secs: secs(EPOCH_MAX), rekey_secs: secs(REKEY_EVERY), retention_secs: secs(RETENTION_DEFAULT) }
    }
}

impl Config {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// Names the file, the key, what is wrong and how to mend it.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        Self::parse(&text, path)
    }

    /// Checks the text of a file; the path is only for the errors.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let config: Self =
            toml::from_str(text).map_err(|e| ConfigError::Parse { path: path.into(), source: Box::new(e) })?;
        config.check().map_err(|(key, what)| ConfigError::Value { path: path.into(), key, what })?;
        Ok(config)
    }

    /// Where PostgreSQL's programs lie: as configured; else of the version that made the private cluster; else the newest
    /// of the machine.
    #[must_use]
    pub fn postgres_dir(&self) -> PathBuf {
        let configured = self.database.bin_dir.clone();
        configured.unwrap_or_else(|| postgres_dir(Path::new(POSTGRES), &self.data.join("postgres/data")))
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        let most = TimingConfig::default();
        for (key, value, limit) in [
            ("timing.epoch_secs", self.timing.epoch_secs, most.epoch_secs),
            ("timing.rekey_secs", self.timing.rekey_secs, most.rekey_secs),
            // Longer retention is the custodians' word (profile), never the configuration's.
            ("timing.retention_secs", self.timing.retention_secs, most.retention_secs),
        ] {
            if value == 0 || value > limit {
                return Err((key, format!("is {value}; it must lie between 1 and {limit}")));
            }
        }
        for (key, dir) in [("data", &self.data), ("run", &self.run)] {
            if !dir.is_absolute() {
                return Err((key, format!("is {}; write an absolute path", dir.display())));
            }
        }
        if let Some(portal) = &self.portal {
            check_names(&portal.names).map_err(|what| ("portal.names", what))?;
        }
        if self.users.recorder_first < 1_000 {
            return Err(("users.recorder_first", "lies among the system's own users; start at 1000 or above".into()));
        }
        if self.users.recorder_count == 0 || self.users.recorder_count as usize > peri_domain::limits::CAMERAS_MAX {
            return Err((
                "users.recorder_count",
                format!("must lie between 1 and {}", peri_domain::limits::CAMERAS_MAX),
            ));
        }
        Ok(())
    }
}

/// Names of one appliance.
const NAMES_MAX: usize = 8;

fn check_names(names: &[String]) -> Result<(), String> {
    if names.is_empty() || names.len() > NAMES_MAX {
        return Err(format!("has {} names; give between 1 and {NAMES_MAX}", names.len()));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let bad = names.iter().find(|name| {
        let address = name.parse::<std::net::IpAddr>();
        address.is_err() && (name.len() > 253 || !name.split('.').all(label))
    });
    match bad {
        Some(bad) => {
            Err(format!("has {bad:?}, neither a DNS name in small letters nor an address; write peri.example"))
        }
        None => Ok(()),
    }
}

/// Where Debian installs every version of PostgreSQL.
const POSTGRES: &str = "/usr/lib/postgresql";

fn postgres_dir(installed: &Path, cluster: &Path) -> PathBuf {
    let made_by = std::fs::read_to_string(cluster.join("PG_VERSION")).ok();
    let of_cluster = made_by.map(|version| installed.join(version.trim()).join("bin"));
    let versions = std::fs::read_dir(installed).into_iter().flatten().flatten();
    let numbered = versions.filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())));
    let newest = || numbered.map(|(number, dir)| (number, dir.join("bin"))).filter(|(_, bin)| bin.exists()).max();
    // Where there is none at all the caller names the directory that was looked into.
    of_cluster.filter(|bin| bin.exists()).or_else(|| newest().map(|(_, bin)| bin)).unwrap_or_else(|| installed.into())
}

/// The commented example that `peri-appliance config --example` prints.
pub const EXAMPLE: &str = include_str!("example.toml");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_a_valid_configuration() {
        let config = Config::parse(EXAMPLE, Path::new("example.toml")).unwrap();
        assert_eq!(config.timing.epoch_secs, 900);
    }

    #[test]
    fn postgres_is_the_version_of_the_cluster_else_the_newest_installed() {
        let machine = tempfile::tempdir().unwrap();
        let (installed, cluster) = (machine.path().join("postgresql"), machine.path().join("data"));
        assert_eq!(postgres_dir(&installed, &cluster), installed, "the place that was looked into");
        for version in ["9", "15", "17", "common"] {
            std::fs::create_dir_all(installed.join(version).join("bin")).unwrap();
        }
        assert_eq!(postgres_dir(&installed, &cluster), installed.join("17/bin"));
        std::fs::create_dir(&cluster).unwrap();
        std::fs::write(cluster.join("PG_VERSION"), "15\n").unwrap();
        assert_eq!(postgres_dir(&installed, &cluster), installed.join("15/bin"));
        std::fs::write(cluster.join("PG_VERSION"), "16\n").unwrap();
        assert_eq!(postgres_dir(&installed, &cluster), installed.join("17/bin"), "16 was removed; 17 says why not");
    }

    #[test]
    fn the_remedy_for_a_missing_landlock_is_a_key_of_this_configuration() {
        let remedy = peri_sandbox::landlock::LandlockError::Missing.to_string();
        let key = remedy.split('`').find(|part| part.contains(" = ")).unwrap().to_owned();
        let rest = EXAMPLE.replace("[accept]", "").replace("no_landlock = false", "");
        let config = Config::parse(&format!("{key}\n{rest}"), Path::new("p.toml"));
        assert!(config.unwrap().accept.no_landlock, "{remedy}");
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let text = format!("retentoin = 5\n{EXAMPLE}");
        let error = Config::parse(&text, Path::new("p.toml")).unwrap_err().to_string();
        assert!(error.contains("retentoin"), "{error}");
    }

    #[test]
    fn the_configuration_cannot_lengthen_retention() {
        let text = EXAMPLE.replace("retention_secs = 259200", "retention_secs = 259201");
        let error = Config::parse(&text, Path::new("p.toml")).unwrap_err().to_string();
        assert!(error.contains("timing.retention_secs"), "{error}");
    }

    #[test]
    fn a_name_that_no_certificate_can_hold_is_named() {
        for name in ["https://peri.example", "Peri.example", "peri_example", "a..b", "-a.example", ""] {
            let text =
                format!("{EXAMPLE}\n[portal]\nlisten = \"0.0.0.0:443\"\nnames = [\"peri.example\", \"{name}\"]\n");
            let error = Config::parse(&text, Path::new("p.toml")).unwrap_err().to_string();
            assert!(error.contains("portal.names") && error.contains(name), "{error}");
        }
        let text =
            format!("{EXAMPLE}\n[portal]\nlisten = \"[::]:443\"\nnames = [\"peri.example\", \"192.0.2.7\", \"::1\"]\n");
        Config::parse(&text, Path::new("p.toml")).unwrap();
    }

    #[test]
    fn a_resolver_that_is_no_address_is_named() {
        let text = EXAMPLE.replace("resolvers = []", "resolvers = [\"dns.example\"]");
        let error = Config::parse(&text, Path::new("p.toml")).unwrap_err().to_string();
        assert!(error.contains("dns.example"), "{error}");
    }
}
