//! The system calls that no library makes as they are needed here.
#![expect(unsafe_code, reason = "bpf(2), mmap(2) and SIOCETHTOOL deal in addresses")]

use std::io;
use std::ops::Deref;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::AtomicU64;

use socket2::{Domain, Socket, Type};

/// Where in the kernel's receive path a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Native,
    Generic,
}

impl Mode {
    /// Its name in an attachment's.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_DETACH: libc::c_int = 34;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// The part of `union bpf_attr` that `BPF_LINK_CREATE` reads; the kernel takes a short one as if the
/// rest were zero.
#[repr(C)]
struct LinkCreate {
    program: u32,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// Attaches a program to an interface until the descriptor is closed.
///
/// aya does this too, but where the kernel says EINVAL it goes on to attach through netlink: that
/// would stay after kill -9, and replace somebody else's program.
///
/// # Errors
/// `EBUSY` or `EEXIST` where there is another program, `EOPNOTSUPP` where the driver has no native
/// mode, and whatever a driver says about its own limits.
pub(super) fn attach(program: BorrowedFd<'_>, ifindex: u32, mode: Mode) -> io::Result<OwnedFd> {
    let flags = match mode {
        Mode::Native => XDP_FLAGS_DRV_MODE,
        Mode::Generic => XDP_FLAGS_SKB_MODE,
    };
    let attributes = LinkCreate {
        // Descriptors that are open are not negative.
        program: program.as_raw_fd() as u32,
        ifindex,
        attach_type: BPF_XDP,
        flags,
    };
    // SAFETY: the kernel reads as many bytes as it is told, all of them initialised.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_LINK_CREATE,
            &raw const attributes,
            size_of::<LinkCreate>(),
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor, close-on-exec as all of bpf(2), that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// A kernel map's memory as words that the kernel reads and writes too, until it is dropped.
pub(super) struct Mapping {
    words: NonNull<AtomicU64>,
    len: usize,
}

// SAFETY: the memory is this process's until it is unmapped in `drop`, whichever thread that is on,
// and all that can be reached are atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` words of an array map that was made with `BPF_F_MMAPABLE`.
    ///
    /// # Errors
    /// The kernel's: no such map, or a smaller one.
    pub(super) fn new(map: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        let bytes = len.checked_mul(8).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory in use.
        let at = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let words = NonNull::new(at.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { words, len })
    }
}

impl Deref for Mapping {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: `len` words from here are mapped until `drop`; a page is aligned for them, any bits
        // are a value, and everybody who writes them, the kernel program too, writes words whole.
        unsafe { slice::from_raw_parts(self.words.as_ptr(), self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length, and no slice of it outlives the value. An error
        // would mean that it was not.
        let _ = unsafe { libc::munmap(self.words.as_ptr().cast(), 8 * self.len) };
    }
}

/// Takes an attachment off its interface at once, whoever else has its descriptor.
pub(super) fn detach(attachment: BorrowedFd<'_>) {
    // An open descriptor is not negative.
    let attributes = attachment.as_raw_fd() as u32;
    // SAFETY: the kernel reads as many bytes as it is told, all of them initialised. Where the interface
    // is gone, or the kernel is too old for it (before 5.9 there are no such attachments at all), nothing
    // is left to be done.
    unsafe {
        libc::syscall(libc::SYS_bpf, BPF_LINK_DETACH, &raw const attributes, size_of::<u32>());
    }
}

/// The part of `union bpf_attr` that `BPF_OBJ_GET_INFO_BY_FD` reads.
#[repr(C)]
struct GetInfo {
    descriptor: u32,
    length: u32,
    info: u64,
}

/// The beginning of `struct bpf_link_info`, of an attachment to an interface.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    ifindex: u32,
    padding_behind: u32,
}

/// Says whether an attachment is still on its interface: whoever may can take it off there, and leaves the
/// descriptor as it is. Where the kernel does not say, it is.
pub(super) fn is_on(attachment: BorrowedFd<'_>) -> bool {
    let mut info = LinkInfo::default();
    let attributes = GetInfo {
        // An open descriptor is not negative.
        descriptor: attachment.as_raw_fd() as u32,
        length: size_of::<LinkInfo>() as u32,
        info: (&raw mut info).addr() as u64,
    };
    // SAFETY: the kernel reads as many bytes of `attributes` as it is told, all of them initialised, and
    // writes `length` bytes at most to `info`, which outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_OBJ_GET_INFO_BY_FD,
            &raw const attributes,
            size_of::<GetInfo>(),
        )
    };
    result < 0 || info.ifindex != 0
}

const SIOCETHTOOL: libc::Ioctl = 0x8946;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GFEATURES: u32 = 0x3a;
/// The set of strings that names the features.
const ETH_SS_FEATURES: u32 = 4;
const ETH_GSTRING_LEN: usize = 32;

/// `struct ethtool_sset_info`, for one set.
#[repr(C)]
struct SetInfo {
    command: u32,
    reserved: u32,
    sets: u64,
    count: u32,
    padding: u32,
}

/// More than any kernel has so far: it keeps them in a word of 64 bits.
const MOST_FEATURES: usize = 128;

/// `struct ethtool_gstrings`, with room for the names of all features.
#[repr(C)]
struct Names {
    command: u32,
    set: u32,
    count: u32,
    names: [[u8; ETH_GSTRING_LEN]; MOST_FEATURES],
}

/// `struct ethtool_gfeatures`, with room for all of them, 32 in a block.
#[repr(C)]
struct Features {
    command: u32,
    blocks: u32,
    features: [FeatureBlock; MOST_FEATURES / 32],
}

/// `struct ethtool_get_features_block`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct FeatureBlock {
    available: u32,
    requested: u32,
    active: u32,
    never_changed: u32,
}

/// The features of an interface that are on, by the names that `ethtool -k` has for them.
///
/// # Errors
/// The kernel's, where there is no such interface or it can't say.
pub(super) fn features(name: &str) -> io::Result<Vec<String>> {
    let mut info = SetInfo {
        command: ETHTOOL_GSSET_INFO,
        reserved: 0,
        sets: 1 << ETH_SS_FEATURES,
        count: 0,
        padding: 0,
    };
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.cloexec(), None)?;
    // SAFETY: the kernel writes a count for each set that was asked for: one.
    unsafe { ethtool(&socket, name, &mut info)? };
    let count = info.count as usize;
    if count > MOST_FEATURES {
        return Err(io::Error::from_raw_os_error(libc::EOVERFLOW));
    }
    let mut named = Names {
        command: ETHTOOL_GSTRINGS,
        set: ETH_SS_FEATURES,
        count: info.count,
        names: [[0; ETH_GSTRING_LEN]; MOST_FEATURES],
    };
    // SAFETY: the kernel writes all names, as many as it has just said; it is built with their number.
    unsafe { ethtool(&socket, name, &mut named)? };
    let mut state = Features {
        command: ETHTOOL_GFEATURES,
        blocks: (MOST_FEATURES / 32) as u32,
        features: [FeatureBlock::default(); MOST_FEATURES / 32],
    };
    // SAFETY: the kernel writes as many blocks as it is told that there is room for, at most.
    unsafe { ethtool(&socket, name, &mut state)? };
    let is_on = |at: usize| state.features[at / 32].active & 1 << (at % 32) != 0;
    let text = |name: &[u8; ETH_GSTRING_LEN]| {
        let bytes = name.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    };
    Ok((0..count).filter(|at| is_on(*at)).map(|at| text(&named.names[at])).collect())
}

/// Has the kernel answer a command of `SIOCETHTOOL` about an interface.
///
/// # Safety
/// `command` is one that the kernel knows, with room for all that it answers, and any bits that it writes
/// there are a value.
unsafe fn ethtool<T>(socket: &Socket, name: &str, command: &mut T) -> io::Result<()> {
    // SAFETY: all of `ifreq` is integers, pointers and byte arrays, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero: it ends the name.
    let room = request.ifr_name.len() - 1;
    if name.len() > room {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut *command).cast();
    // SAFETY: SIOCETHTOOL reads an `ifreq`, and writes where it points what the caller has made room for;
    // both outlive the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
