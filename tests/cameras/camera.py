#!/usr/bin/python3
"""An RTSP camera for tests, demo and bench: one GStreamer server, one port, several mounts.

    /footage   real pedestrians, looped without end; timestamps go on over the seam, as a camera's do
    /clock     a drawn picture with the wall clock and the stream time burnt in, encoded live
    /hevc      the footage as H.265 (a codec the recorder must refuse by name)
    /sound     the footage as H.264 beside an AAC track (which a recorder must leave alone)
    /changing  the footage with parameter sets and picture size changing every 5 s, in band

Prints one JSON line when it accepts connections: {"ready", "port", "pid", "urls", "user", "pin_sha256", ...}, then
obeys lines on standard input: `disconnect` drops every client, `quit` ends; the end of standard input ends it too,
so that no camera outlives its test. With --detached it ignores standard input and runs until SIGTERM.

What does not belong here: hostile behaviour (its own files beside this one), anything of the product. The server
knows only MD5 Digest; the other algorithms are tested against scripted servers.
"""
import argparse
import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE_FPS = 10  # of vtest.avi
MOUNTS = ("footage", "clock", "hevc", "sound", "changing")
ANNEX_B = {
    "h264": ("libx264", "h264_mp4toannexb,h264_metadata=aud=insert", b"\x00\x00\x00\x01\x09"),
    "h265": ("libx265", "hevc_mp4toannexb,hevc_metadata=aud=insert", b"\x00\x00\x00\x01\x46\x01"),
}


def prepared(footage: Path, codec: str, size: str, fps: int, kbit: int) -> Path:
    """The footage as an Annex B file with access unit delimiters, made once per set of parameters.

    Only `native` H.264 is a bit-for-bit copy of vtest.mp4 (so that pictures can be compared with the source); all
    else is encoded anew, at constant bit rate where `kbit` is given (a camera's rate control, and a bench's need).
    """
    encoder, bitstream_filter, _ = ANNEX_B[codec]
    native = codec == "h264" and size == "native"
    name = f"vtest-{codec}-{size}-{fps}-{kbit}.{codec}"
    target = footage.parent / name
    if target.exists():
        return target
    command = ["ffmpeg", "-v", "error", "-y", "-i", str(footage)]
    if native:
        command += ["-c:v", "copy"]
    else:
        scale = [] if size == "native" else [f"scale={size.replace('x', ':')}"]
        # setpts keeps every picture and makes the pedestrians walk faster, instead of repeating pictures.
        filters = scale + [f"setpts=N/({fps}*TB)"]
        command += ["-vf", ",".join(filters), "-r", str(fps), "-c:v", encoder, "-preset", "veryfast", "-bf", "0"]
        command += ["-g", str(2 * fps), "-pix_fmt", "yuv420p"]
        if codec == "h265":
            command += ["-x265-params", f"log-level=error:bframes=0:keyint={2 * fps}"]
        elif kbit:
            command += ["-nal-hrd", "cbr"]
        if kbit:
            command += ["-b:v", f"{kbit}k", "-minrate", f"{kbit}k", "-maxrate", f"{kbit}k", "-bufsize", f"{kbit}k"]
    handle, part = tempfile.mkstemp(dir=footage.parent, suffix=f".{codec}")
    os.close(handle)
    try:
        command += ["-bsf:v", bitstream_filter, "-an", "-f", "hevc" if codec == "h265" else codec, part]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        os.chmod(part, 0o644)
        os.rename(part, target)
    except BaseException:
        os.unlink(part)
        raise
    return target


def access_units(path: Path, codec: str) -> list:
    """The access units of an Annex B file, split at their delimiters."""
    delimiter = ANNEX_B[codec][2]
    data = path.read_bytes()
    starts, at = [], data.find(delimiter)
    while at >= 0:
        starts.append(at)
        at = data.find(delimiter, at + len(delimiter))
    if not starts or starts[0] != 0:
        raise SystemExit(f"{path}: no access unit delimiter at the start; delete the file, it is made anew")
    return [data[a:b] for a, b in zip(starts, starts[1:] + [len(data)])]


def key_unit(unit: bytes, codec: str) -> bool:
    """Whether an access unit holds an IDR (H.264: type 5; H.265: types 16 to 21)."""
    at = unit.find(b"\x00\x00\x01")
    while at >= 0 and at + 3 < len(unit):
        header = unit[at + 3]
        if (codec == "h264" and header & 0x1F == 5) or (codec == "h265" and 16 <= (header >> 1 & 0x3F) <= 21):
            return True
        at = unit.find(b"\x00\x00\x01", at + 3)
    return False


class Loop:
    """Feeds one appsrc with the same access units for ever; picture n has timestamp n / fps."""

    def __init__(self, units, codec, fps):
        self.units, self.fps, self.count = units, fps, 0
        self.keys = [key_unit(unit, codec) for unit in units]

    def need_data(self, source, _length):
        unit, key = self.units[self.count % len(self.units)], self.keys[self.count % len(self.units)]
        buffer = Gst.Buffer.new_wrapped(unit)
        buffer.pts = buffer.dts = self.count * Gst.SECOND // self.fps
        buffer.duration = (self.count + 1) * Gst.SECOND // self.fps - buffer.pts
        if not key:
            buffer.set_flags(Gst.BufferFlags.DELTA_UNIT)
        self.count += 1
        source.emit("push-buffer", buffer)


class Factory(GstRtspServer.RTSPMediaFactory):
    """One pipeline per mount; clients of a mount share it, as they share a camera's encoder.

    So a client may join inside a group of pictures, as with many cameras: what it gets before the next key picture
    cannot be decoded.
    """

    def __init__(self, launch, units=None, codec="h264", fps=SOURCE_FPS):
        super().__init__()
        self.units, self.codec, self.fps = units, codec, fps
        self.set_launch(f"( {launch} )")
        self.set_shared(True)
        self.set_latency(50)
        # A camera does not know suspension: the clock runs on while nobody looks.
        self.set_suspend_mode(GstRtspServer.RTSPSuspendMode.NONE)

    def do_configure(self, media):
        GstRtspServer.RTSPMediaFactory.do_configure(self, media)
        if self.units is not None:
            source = media.get_element().get_by_name("loop")
            source.connect("need-data", Loop(self.units, self.codec, self.fps).need_data)


def looped(codec):
    # block + a small queue: appsrc asks for the next picture only when the sink's clock has sent the last ones.
    caps = f"video/x-{codec},stream-format=byte-stream,alignment=au"
    return (f"appsrc name=loop format=time is-live=false block=true max-buffers=4 max-bytes=0 caps={caps} "
            f"! {codec}parse ! rtp{codec}pay name=pay0 pt=96 config-interval=-1 mtu=1400")


def drawn(size, fps, kbit):
    width, height = (1280, 720) if size == "native" else map(int, size.split("x"))
    font = f"font-desc=\"Monospace {max(height // 24, 12)}\""
    return (f"videotestsrc is-live=true pattern=ball ! video/x-raw,width={width},height={height},framerate={fps}/1 "
            f"! clockoverlay time-format=\"%Y-%m-%d %H:%M:%S\" halignment=left valignment=top {font} "
            f"! timeoverlay halignment=right valignment=bottom {font} "
            f"! x264enc tune=zerolatency sliced-threads=false threads=1 speed-preset=ultrafast key-int-max={fps} "
            f"bitrate={kbit or 1000} "
            f"! video/x-h264,profile=main ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1 mtu=1400")


def factory(mount, options):
    if mount == "clock":
        return Factory(drawn(options.size, options.fps or 15, options.bitrate))
    codec = "h265" if mount == "hevc" else "h264"
    fps = options.fps or SOURCE_FPS
    sizes = ["native", "640x480"] if mount == "changing" else [options.size]
    parts = [access_units(prepared(options.footage, codec, size, fps, options.bitrate), codec) for size in sizes]
    units = parts[0]
    if mount == "changing":
        # Groups of pictures start at key pictures: change only there.
        units = []
        for number in range(8):
            part = parts[number % 2]
            keys = [i for i, unit in enumerate(part) if key_unit(unit, codec)]
            step = max(1, 5 * fps // (2 * fps))
            group = keys[number * step % (len(keys) - step):][: step + 1]
            units += part[group[0]:group[-1]]
    launch = looped(codec)
    if mount == "sound":
        launch += " audiotestsrc is-live=true wave=ticks ! audio/x-raw,rate=48000,channels=1 ! avenc_aac ! aacparse " \
                  "! rtpmp4gpay name=pay1 pt=97"
    return Factory(launch, units, codec, fps)


def certificate(options):
    """PEM certificate and key for RTSPS: given by the caller, or self-signed for one day."""
    if options.cert:
        return Path(options.cert).read_text() + Path(options.key or options.cert).read_text()
    with tempfile.TemporaryDirectory() as work:
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "1", "-subj", "/CN=camera", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
                        "-keyout", f"{work}/key.pem", "-out", f"{work}/cert.pem"], check=True, capture_output=True)
        return Path(f"{work}/cert.pem").read_text() + Path(f"{work}/key.pem").read_text()


def der(pem):
    body = pem.split("-----BEGIN CERTIFICATE-----")[1].split("-----END CERTIFICATE-----")[0]
    return base64.b64decode(body)


def spki_sha256(pem):
    public = subprocess.run(["openssl", "x509", "-pubkey", "-noout"], input=pem.encode(), check=True,
                            capture_output=True).stdout
    spki = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=public, check=True,
                          capture_output=True).stdout
    return hashlib.sha256(spki).hexdigest()


def authentication(options, pem):
    auth = GstRtspServer.RTSPAuth.new()
    if pem:
        auth.set_tls_certificate(Gio.TlsCertificate.new_from_pem(pem, -1))
    role = "anonymous"
    if options.user:
        role = "user"
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", role)
        if options.basic:
            auth.set_supported_methods(GstRtsp.RTSPAuthMethod.BASIC)
            auth.add_basic(GstRtspServer.RTSPAuth.make_basic(options.user, options.password), token)
        else:
            auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
            auth.add_digest(options.user, options.password, token)
    else:
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", role)
        auth.set_default_token(token)
    return auth, role


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="TCP port (0: a free one, named in the ready line)")
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--mount", action="append", choices=MOUNTS, help="repeatable; default: footage and clock")
    parser.add_argument("--size", default="native", help="WIDTHxHEIGHT; native: 768x576, the clock 1280x720")
    parser.add_argument("--fps", type=int, default=0, help="pictures a second; 0: footage 10, clock 15")
    parser.add_argument("--bitrate", type=int, default=0, help="kbit/s constant (the clock, being plain, stays below); 0: as encoded")
    parser.add_argument("--user", help="ask for a password (Digest MD5; with --basic Basic)")
    parser.add_argument("--password", default="")
    parser.add_argument("--basic", action="store_true")
    parser.add_argument("--tls", action="store_true", help="RTSPS with a certificate made at start")
    parser.add_argument("--cert", help="RTSPS with this PEM certificate (chain)")
    parser.add_argument("--key", help="PEM key of --cert, if not in the same file")
    parser.add_argument("--footage", type=Path, default=ROOT / "target/footage/vtest.mp4")
    parser.add_argument("--prepare", action="store_true", help="only encode what the mounts need, then end")
    parser.add_argument("--detached", action="store_true")
    options = parser.parse_args()
    options.mount = options.mount or ["footage", "clock"]
    if options.mount != ["clock"] and not options.footage.exists():
        parser.error(f"{options.footage} is missing: run scripts/setup")
    if options.size != "native" and options.fps == 0:
        options.fps = 15
    if options.bitrate and options.size == "native":
        parser.error("--bitrate encodes anew: say --size as well")
    return options


def main():
    options = arguments()
    Gst.init(None)
    factories = {mount: factory(mount, options) for mount in options.mount}
    if options.prepare:
        return
    server = GstRtspServer.RTSPServer()
    server.set_address(options.address)
    server.set_service(str(options.port))
    pem = certificate(options) if options.tls or options.cert else None
    role = None
    if pem or options.user:
        auth, role = authentication(options, pem)
        server.set_auth(auth)
    mounts = server.get_mount_points()
    for mount, made in factories.items():
        if role:
            permissions = GstRtspServer.RTSPPermissions()
            permissions.add_permission_for_role(role, "media.factory.access", True)
            permissions.add_permission_for_role(role, "media.factory.construct", True)
            made.set_permissions(permissions)
        mounts.add_factory(f"/{mount}", made)
    if server.attach(None) == 0:
        raise SystemExit(f"cannot listen on {options.address}:{options.port}: is the port taken?")
    GLib.timeout_add_seconds(2, lambda: server.get_session_pool().cleanup() or True)

    loop = GLib.MainLoop()
    for number in (signal.SIGTERM, signal.SIGINT):
        GLib.unix_signal_add(GLib.PRIORITY_HIGH, number, loop.quit)
    port = server.get_bound_port()
    scheme = "rtsps" if pem else "rtsp"
    ready = {"ready": True, "pid": os.getpid(), "port": port, "user": options.user,
             "urls": {m: f"{scheme}://{options.address}:{port}/{m}" for m in factories}}
    if pem:
        ready |= {"cert_sha256": hashlib.sha256(der(pem)).hexdigest(), "pin_sha256": spki_sha256(pem),
                  "cert_pem": pem[:pem.index("-----END CERTIFICATE-----")] + "-----END CERTIFICATE-----\n"}
    print(json.dumps(ready), flush=True)

    def obey():
        for line in sys.stdin:
            if line.strip() == "disconnect":
                GLib.idle_add(lambda: server.client_filter(
                    lambda _server, _client: GstRtspServer.RTSPFilterResult.REMOVE) and False)
            elif line.strip() == "quit":
                break
        GLib.idle_add(loop.quit)

    if not options.detached:
        threading.Thread(target=obey, daemon=True).start()
    loop.run()


if __name__ == "__main__":
    main()
