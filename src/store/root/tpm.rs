//! Roots in the NV memory of a TPM 2.0, spoken to directly over an inherited descriptor.
//!
//! The descriptor is a connected unix stream to swtpm's data channel, or an open `/dev/tpm0`. Commands are marshalled
//! by `tpm2-protocol`; there is no resource manager, no session and no TSS (`compliance/decisions/0004`). Two NV indices
//! in the owner's range hold one slot each; the owner hierarchy has an empty password, because who can reach the
//! descriptor is decided by the kernel, not by a password that would have to lie beside it.
//!
//! What does not belong: sockets being opened, start of swtpm, PCRs and quotes.
//! Invariant: an index whose public area is not exactly ours is refused, so nobody can widen the read policy beforehand.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tpm2_protocol::basic::{Tpm2b, TpmHandle, TpmUint16};
use tpm2_protocol::constant::{MAX_NV_BUFFER_SIZE, TPM_MAX_COMMAND_SIZE};
use tpm2_protocol::data::{
    Tpm2bAuth, Tpm2bDigest, Tpm2bMaxNvBuffer, Tpm2bNonce, Tpm2bNvPublic, TpmAlgId, TpmRh, TpmSt, TpmaNv, TpmaSession,
    TpmsAuthCommand, TpmsNvPublic,
};
use tpm2_protocol::frame::{
    TpmFrame, TpmGetRandomCommand, TpmNvDefineSpaceCommand, TpmNvReadCommand, TpmNvReadPublicCommand,
    TpmNvReadPublicResponse, TpmNvUndefineSpaceCommand, TpmNvWriteCommand, TpmResponse, tpm_marshal_command,
};
use tpm2_protocol::{TpmError as WireError, TpmWriter};
use zeroize::Zeroizing;

use super::{RootEntry, RootError, RootStore, SLOT_LEN, Slot};

/// First of the two NV indices: in the owner's range (0x0180_0000 to 0x01BF_FFFF, TCG Registry of Reserved TPM 2.0
/// Handles), ending in "PR".
pub const NV_INDEX_BASE: u32 = 0x0180_5052;

/// The fixed policy of both indices: read and write with owner authorisation only, no dictionary-attack lockout (there
/// is no password to guess). No policy, no per-index password, nothing for the platform.
const ATTRIBUTES: u32 = TpmaNv::OWNERWRITE.bits() | TpmaNv::OWNERREAD.bits() | TpmaNv::NO_DA.bits();

/// Longest wait for one answer. Part 4 of the specification lets NV commands take 2 s; a busy host may stall swtpm.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// How often a command is repeated after a warning that says *try again*, 50 ms apart.
const RETRIES: u32 = 60;

/// Size of the fixed header of every command and answer: tag 2, size 4, code 4.
const HEADER_LEN: usize = 10;

/// Response codes (TPM 2.0 Part 2, 6.6.3).
mod rc {
    pub(super) const SUCCESS: u32 = 0;
    pub(super) const NV_UNINITIALIZED: u32 = 0x14A;
    /// `TPM_RC_HANDLE`, format 1, whatever handle number.
    pub(super) const HANDLE: u32 = 0x08B;
    pub(super) const FORMAT1_MASK: u32 = 0x0BF;
    /// `TPM_RC_BAD_AUTH` and `TPM_RC_AUTH_FAIL`, format 1.
    pub(super) const BAD_AUTH: u32 = 0x0A2;
    pub(super) const AUTH_FAIL: u32 = 0x08E;
    /// YIELDED, TESTING, NV_RATE, RETRY: nothing was done, ask again.
    pub(super) const AGAIN: [u32; 4] = [0x908, 0x90A, 0x920, 0x922];
}

/// Why the TPM could not serve.
#[derive(Debug, thiserror::Error)]
pub enum TpmError {
    /// The descriptor failed.
    #[error("TPM, {doing}: {source}; is the TPM (swtpm) running and the descriptor the one of this start?")]
    Io {
        /// Command in hand.
        doing: &'static str,
        /// Cause.
        source: std::io::Error,
    },
    /// The other end closed.
    #[error("TPM, {doing}: the other end closed the connection; restart swtpm, the appliance then connects by itself")]
    Gone {
        /// Command in hand.
        doing: &'static str,
    },
    /// No answer in time.
    #[error("TPM, {doing}: no answer within {} s; restart swtpm or reset the TPM", ANSWER_MAX.as_secs())]
    Silent {
        /// Command in hand.
        doing: &'static str,
    },
    /// An answer that is not one.
    #[error("TPM, {doing}: malformed answer ({reason}); this is not a TPM 2.0 or the connection is shared")]
    Malformed {
        /// Command in hand.
        doing: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The TPM refuses.
    #[error("TPM, {doing}: response code {code:#05x}{}", hint(*.code))]
    Refused {
        /// Command in hand.
        doing: &'static str,
        /// TPM response code.
        code: u32,
    },
    /// Somebody else defined our index.
    #[error(
        "TPM: NV index {index:#010x} exists with a public area that is not ours ({found}); somebody defined it before. \
         Undefine it, or clear the TPM, after making sure that no other appliance uses it"
    )]
    Foreign {
        /// Index.
        index: u32,
        /// What it has instead.
        found: String,
    },
    /// A command that could not be marshalled.
    #[error("TPM, {doing}: cannot build the command: {reason}")]
    Build {
        /// Command in hand.
        doing: &'static str,
        /// Why.
        reason: String,
    },
}

impl TpmError {
    /// Whether it is the connection that does not serve; what the TPM says of a command is no such thing.
    #[must_use]
    pub const fn is_connection_lost(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Gone { .. } | Self::Silent { .. } | Self::Malformed { .. })
    }
}

fn hint(code: u32) -> &'static str {
    match code & rc::FORMAT1_MASK {
        rc::BAD_AUTH | rc::AUTH_FAIL if code & 0x80 != 0 => {
            ": the owner hierarchy has a password; it must be empty for the appliance (clear the TPM)"
        }
        _ if code == 0x14B => ": NV memory is full; undefine indices that nobody uses",
        _ if code == 0x100 => ": the TPM was not started; start swtpm with --flags startup-clear",
        _ => "",
    }
}

/// Two slots in the NV memory of one TPM. Owns the connection: nobody else may speak on it.
pub struct TpmNv {
    stream: std::fs::File,
    state_dir: Option<OwnedFd>,
}

impl TpmNv {
    /// Takes over a connected descriptor, discards an answer that a killed predecessor left unread, and defines both
    /// indices where they are missing.
    ///
    /// `state_dir` is a readable descriptor of swtpm's state directory: swtpm writes its state with `write` and
    /// `rename` but never syncs, so each change is followed by `syncfs` on that file system. A real TPM needs none.
    ///
    /// # Errors
    /// When the TPM does not answer, refuses, or an index is not ours.
    pub fn open(stream: OwnedFd, state_dir: Option<OwnedFd>) -> Result<Self, TpmError> {
        let mut tpm = Self { stream: stream.into(), state_dir };
        tpm.prepare()?;
        Ok(tpm)
    }

    /// Goes on over another connection, because the one before is dead. It ends first: swtpm serves one client.
    ///
    /// # Errors
    /// As [`TpmNv::open`]; then the new connection serves no better.
    pub fn reconnect(&mut self, stream: OwnedFd) -> Result<(), TpmError> {
        self.stream = stream.into();
        self.prepare()
    }

    fn prepare(&mut self) -> Result<(), TpmError> {
        self.resynchronise()?;
        for slot in Slot::BOTH {
            if !self.is_defined(slot)? {
                self.define(slot)?;
            }
        }
        Ok(())
    }

    /// Removes both indices: the end of this appliance. Nothing that the X file holds can be opened afterwards.
    ///
    /// # Errors
    /// When the TPM does not answer or refuses.
    pub fn destroy(mut self) -> Result<(), TpmError> {
        for slot in Slot::BOTH {
            self.write(slot, &Zeroizing::new([0; SLOT_LEN]))?;
            let command = TpmNvUndefineSpaceCommand { handles: [owner(), index(slot)] };
            self.call("NV_UndefineSpace", &command, true, |_| {})?.success("NV_UndefineSpace")?;
        }
        self.sync()
    }

    /// A predecessor killed between command and answer leaves an answer behind, perhaps one that comes only later; and
    /// swtpm reads a command that it has not taken yet together with the next one and refuses both. So: discard what is
    /// there, then ask for a random number of random bytes until an answer of exactly that shape comes.
    fn resynchronise(&mut self) -> Result<(), TpmError> {
        const DOING: &str = "start";
        const LATE: Duration = Duration::from_millis(200);
        while self.readable(Duration::ZERO, DOING)? {
            let mut stale = Zeroizing::new([0; TPM_MAX_COMMAND_SIZE]);
            match self.stream.read(stale.as_mut()) {
                Ok(0) => break, // /dev/tpm0 with nothing to read; a closed socket fails at the next write
                Ok(_) => {}
                Err(source) => return Err(TpmError::Io { doing: DOING, source }),
            }
        }
        let mut picks = [0; 3];
        getrandom::fill(&mut picks).map_err(|_| TpmError::Build { doing: DOING, reason: "no random bytes".into() })?;
        let mut refused = rc::SUCCESS;
        for pick in picks {
            let wanted = u16::from(pick % 32) + 1; // every TPM 2.0 gives a SHA-256 digest's worth at once
            let command = TpmGetRandomCommand { handles: [], bytes_requested: TpmUint16::from(wanted) };
            self.send(DOING, &command, false, |_| {})?;
            for _ in 0..4 {
                let answer = self.receive(DOING)?;
                if answer.code == rc::SUCCESS && answer.bytes.len() == HEADER_LEN + 2 + usize::from(wanted) {
                    return Ok(());
                }
                refused = answer.code;
                if !self.readable(LATE, DOING)? {
                    break; // no other answer is on its way: ask again
                }
            }
        }
        match refused {
            rc::SUCCESS => {
                Err(TpmError::Malformed { doing: DOING, reason: "answers do not match the questions".into() })
            }
            code => Err(TpmError::Refused { doing: DOING, code }),
        }
    }

    fn is_defined(&mut self, slot: Slot) -> Result<bool, TpmError> {
        const DOING: &str = "NV_ReadPublic";
        let answer = self.call(DOING, &TpmNvReadPublicCommand { handles: [index(slot)] }, false, |_| {})?;
        if answer.code & rc::FORMAT1_MASK == rc::HANDLE {
            return Ok(false);
        }
        answer.success(DOING)?;
        let public = TpmResponse::cast(&answer.bytes)
            .and_then(TpmResponse::unmarshal::<TpmNvReadPublicResponse>)
            .map_err(|e| malformed(DOING, &e))?
            .nv_public
            .inner;
        let mut attributes = public.attributes.bits();
        attributes &= !TpmaNv::WRITTEN.bits();
        let found = TpmsNvPublic { attributes: TpmaNv::from_bits_truncate(attributes), ..public };
        if found == public_area(slot) {
            return Ok(true);
        }
        Err(TpmError::Foreign {
            index: index(slot).value(),
            found: format!(
                "attributes {:#010x}, {} bytes, policy of {} bytes",
                public.attributes.bits(),
                public.data_size.value(),
                public.auth_policy.len()
            ),
        })
    }

    fn define(&mut self, slot: Slot) -> Result<(), TpmError> {
        const DOING: &str = "NV_DefineSpace";
        let command = TpmNvDefineSpaceCommand {
            handles: [owner()],
            auth: Tpm2bAuth::default(),
            public_info: Tpm2bNvPublic { inner: public_area(slot) },
        };
        self.call(DOING, &command, true, |_| {})?.success(DOING)?;
        self.sync()
    }

    /// Writes a slot. The root goes straight into the command's wiped buffer: the marshaller sees only zeros, because
    /// its own buffers are copied around and never wiped.
    fn write(&mut self, slot: Slot, content: &Zeroizing<[u8; SLOT_LEN]>) -> Result<(), TpmError> {
        const DOING: &str = "NV_Write";
        let blank = Tpm2bMaxNvBuffer::try_from([0; SLOT_LEN].as_slice()).map_err(|e| build(DOING, &e))?;
        let command = TpmNvWriteCommand { handles: [owner(), index(slot)], data: blank, offset: TpmUint16::from(0) };
        self.call(DOING, &command, true, |wire| {
            // The data stand right before the closing 16-bit offset (Part 3, 31.7).
            let end = wire.len() - size_of::<u16>();
            wire[end - SLOT_LEN..end].copy_from_slice(content.as_ref());
        })?
        .success(DOING)?;
        self.sync()
    }

    fn sync(&self) -> Result<(), TpmError> {
        match &self.state_dir {
            Some(dir) => nix::unistd::syncfs(dir.as_fd())
                .map_err(|e| TpmError::Io { doing: "sync of the TPM state", source: e.into() }),
            None => Ok(()),
        }
    }

    /// One command and its answer, repeated while the TPM says *try again*.
    fn call<C: TpmFrame>(
        &mut self,
        doing: &'static str,
        command: &C,
        authorised: bool,
        fill: impl Fn(&mut [u8]),
    ) -> Result<Answer, TpmError> {
        for _ in 0..RETRIES {
            self.send(doing, command, authorised, &fill)?;
            let answer = self.receive(doing)?;
            if !rc::AGAIN.contains(&answer.code) {
                return Ok(answer);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(TpmError::Silent { doing })
    }

    fn send<C: TpmFrame>(
        &mut self,
        doing: &'static str,
        command: &C,
        authorised: bool,
        fill: impl Fn(&mut [u8]),
    ) -> Result<(), TpmError> {
        let mut wire = Zeroizing::new([0; TPM_MAX_COMMAND_SIZE]);
        let empty_password = [TpmsAuthCommand {
            session_handle: TpmHandle::new(TpmRh::Pw.value()),
            nonce: Tpm2bNonce::default(),
            session_attributes: TpmaSession::empty(),
            hmac: Tpm2bAuth::default(),
        }];
        let (tag, sessions) =
            if authorised { (TpmSt::Sessions, &empty_password[..]) } else { (TpmSt::NoSessions, &[][..]) };
        let len = {
            let mut writer = TpmWriter::new(wire.as_mut());
            tpm_marshal_command(command, tag, sessions, &mut writer).map_err(|e| build(doing, &e))?;
            writer.len()
        };
        fill(&mut wire[..len]);
        self.stream.write_all(&wire[..len]).map_err(|source| TpmError::Io { doing, source })
    }

    fn receive(&mut self, doing: &'static str) -> Result<Answer, TpmError> {
        let mut bytes = Zeroizing::new(vec![0; TPM_MAX_COMMAND_SIZE]);
        let mut have = 0;
        loop {
            if have >= HEADER_LEN {
                let size = u32::from_be_bytes(bytes[2..6].try_into().expect("4 bytes by range"));
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                if !(HEADER_LEN..=TPM_MAX_COMMAND_SIZE).contains(&size) || have > size {
                    return Err(TpmError::Malformed { doing, reason: format!("{have} bytes, size field {size}") });
                }
                if have == size {
                    let code = u32::from_be_bytes(bytes[6..10].try_into().expect("4 bytes by range"));
                    bytes.truncate(size);
                    return Ok(Answer { code, bytes });
                }
            }
            if !self.readable(ANSWER_MAX, doing)? {
                return Err(TpmError::Silent { doing });
            }
            match self.stream.read(&mut bytes[have..]) {
                Ok(0) => return Err(TpmError::Gone { doing }),
                Ok(n) => have += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(TpmError::Io { doing, source }),
            }
        }
    }

    fn readable(&self, wait: Duration, doing: &'static str) -> Result<bool, TpmError> {
        let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.stream.as_fd(), PollFlags::POLLIN)];
        loop {
            match poll(&mut fds, timeout) {
                Ok(n) => return Ok(n > 0),
                Err(nix::Error::EINTR) => {}
                Err(e) => return Err(TpmError::Io { doing, source: e.into() }),
            }
        }
    }
}

impl RootStore for TpmNv {
    fn load(&mut self, slot: Slot) -> Result<Option<RootEntry>, RootError> {
        const DOING: &str = "NV_Read";
        let size = u16::try_from(SLOT_LEN).expect("64 fits");
        let command = TpmNvReadCommand {
            handles: [owner(), index(slot)],
            size: TpmUint16::from(size),
            offset: TpmUint16::from(0),
        };
        let answer = self.call(DOING, &command, true, |_| {})?;
        if answer.code == rc::NV_UNINITIALIZED {
            return Ok(None);
        }
        answer.success(DOING)?;
        // Read in place: an owned response would copy the root into buffers that are never wiped. With sessions the
        // body is parameter size 4, then the data as TPM2B (Part 1, 16.10).
        let body = TpmResponse::cast(&answer.bytes).map_err(|e| malformed(DOING, &e))?.body();
        let data = body.get(size_of::<u32>()..).unwrap_or(&[]);
        let (data, _) = Tpm2b::<MAX_NV_BUFFER_SIZE>::cast_prefix(data).map_err(|e| malformed(DOING, &e))?;
        let slot_bytes: &[u8; SLOT_LEN] = data.data().try_into().map_err(|_| TpmError::Malformed {
            doing: DOING,
            reason: format!("{} bytes instead of {SLOT_LEN}", data.size()),
        })?;
        RootEntry::decode(slot_bytes)
    }

    fn store(&mut self, slot: Slot, entry: &RootEntry) -> Result<(), RootError> {
        Ok(self.write(slot, &entry.encode())?)
    }

    fn clear(&mut self, slot: Slot) -> Result<(), RootError> {
        Ok(self.write(slot, &Zeroizing::new([0; SLOT_LEN]))?)
    }
}

struct Answer {
    code: u32,
    bytes: Zeroizing<Vec<u8>>,
}

impl Answer {
    fn success(&self, doing: &'static str) -> Result<(), TpmError> {
        if self.code == rc::SUCCESS { Ok(()) } else { Err(TpmError::Refused { doing, code: self.code }) }
    }
}

fn owner() -> TpmHandle {
    TpmHandle::new(TpmRh::Owner.value())
}

fn index(slot: Slot) -> TpmHandle {
    TpmHandle::new(match slot {
        Slot::A => NV_INDEX_BASE,
        Slot::B => NV_INDEX_BASE + 1,
    })
}

fn public_area(slot: Slot) -> TpmsNvPublic {
    TpmsNvPublic {
        nv_index: index(slot),
        name_alg: TpmAlgId::Sha256,
        attributes: TpmaNv::from_bits_truncate(ATTRIBUTES),
        auth_policy: Tpm2bDigest::default(),
        data_size: TpmUint16::from(u16::try_from(SLOT_LEN).expect("64 fits")),
    }
}

fn build(doing: &'static str, error: &WireError) -> TpmError {
    TpmError::Build { doing, reason: error.to_string() }
}

fn malformed(doing: &'static str, error: &WireError) -> TpmError {
    TpmError::Malformed { doing, reason: error.to_string() }
}

#[cfg(test)]
pub(crate) mod tests;
