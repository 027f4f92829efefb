//! Ends what tests started, however the test process ends: a shell that holds a list of processes and directories, and
//! cleans up when the pipe from the test process closes.
//!
//! Values drop for order; this is for panics in another thread, for statics (which never drop) and for `kill -9`.

use std::io::Write;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};

const SCRIPT: &str = r#"
declare -A process directory
while IFS=' ' read -r word value; do
    case $word in
    start) process[$value]=1 ;;
    end) unset "process[$value]" ;;
    make) directory[$value]=1 ;;
    gone) unset "directory[$value]" ;;
    esac
done
for pid in "${!process[@]}"; do kill -KILL "$pid"; done
for try in 1 2 3 4 5; do
    for path in "${!directory[@]}"; do rm -rf -- "$path" && unset "directory[$path]"; done
    [ ${#directory[@]} = 0 ] && break
    sleep 0.2
done
"#;

fn tell(word: &str, value: &str) {
    static PIPE: OnceLock<Mutex<ChildStdin>> = OnceLock::new();
    let pipe = PIPE.get_or_init(|| {
        #[allow(
            clippy::zombie_processes,
            reason = "it outlives this process on purpose: it is what cleans up after it"
        )]
        let mut child = Command::new("setsid")
            .args(["bash", "-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("bash and setsid are part of Debian");
        Mutex::new(child.stdin.take().unwrap())
    });
    let _ = writeln!(pipe.lock().unwrap_or_else(|e| e.into_inner()), "{word} {value}");
}

/// A directory to remove at the end.
pub fn directory(path: &Path) {
    tell("make", &path.display().to_string());
}

/// It is removed already.
pub fn directory_gone(path: &Path) {
    tell("gone", &path.display().to_string());
}

/// A child that is killed on drop and with the test process.
pub struct Guarded(Child);

impl Guarded {
    /// Starts a process.
    pub fn spawn(command: &mut Command) -> Self {
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        tell("start", &child.id().to_string());
        Self(child)
    }

    /// The child.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.0.id().cast_signed()), signal);
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if self.is_running() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
        tell("end", &self.0.id().to_string());
    }
}
