"""Try to break what lies on disk, and print what was tried and what failed: `make trust`.

Each trial yields one outcome a case: an empty string, or what went wrong. Right is: nothing finished is lost, nothing damaged is used, no
foreign code runs, and whatever is refused is refused in a line. Faults are put into child processes; the cases of a trial come in random
order, so that one the clock has stopped is a fair sample of all. Commit nothing meanwhile: workers on another commit are refused.
"""

import argparse
import io
import json
import math
import multiprocessing
import os
import pickle
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import torch
from handmade import Bomb, short, taught, written
from PIL import Image
from safetensors.torch import load_file, save_file
from test_damage import seal
from test_hostile import VALUES

import mixkd.checksums as checksums
import mixkd.records as records
import mixkd.store as stores
from mixkd import checkpoint, export
from mixkd.checkpoint import DamagedCheckpoint, Settings
from mixkd.cluster import connected
from mixkd.data import load_data
from mixkd.ranks import joined  # noqa: F401 - for RANK
from mixkd.records import DamagedRecord
from mixkd.runs import Machine, collect
from mixkd.spec import RunSpec, SpecError
from mixkd.store import RecordStore

Outcomes = Iterator[str]


@dataclass
class Tally:
    """What became of one trial."""

    name: str
    tried: int = 0
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0
    whole: bool = False


def judged(case: Callable[[], str | None]) -> str:
    """The outcome of a case; an exception is a failure."""
    try:
        return case() or ""
    except Exception:
        return "".join(traceback.format_exc().splitlines(True)[-3:])


def in_child(
    action: Callable[[], None], seconds: float = 120.0, kill_after: float | None = None, beside: Callable[[], None] = lambda: None
) -> int:
    """Do something in a fork, and something else beside it. Returns 0, 3 for an error a user could meet, 4 for a bug, -9 for a kill."""
    process = os.fork()
    if not process:
        status = 4
        try:
            action()
            status = 0
        except (OSError, RuntimeError, ValueError):
            status = 3
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    deadline = time.monotonic() + (seconds if kill_after is None else kill_after)
    while (ended := os.waitpid(process, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline:
            os.kill(process, signal.SIGKILL)
            ended = os.waitpid(process, 0)
            break
        beside()
        time.sleep(0.001)
    return os.waitstatus_to_exitcode(ended[1])


def bits(store: RecordStore) -> dict[str, bytes]:
    return {record.id: (record.path / "tensors.safetensors").read_bytes() for record in store.list()}


def unlike(store: RecordStore, wanted: dict[str, bytes], *, whole: bool) -> str | None:
    """Say what is wrong with the records that kills left: damaged, or other than without kills; where ``whole``, one that lacks too."""
    if problems := store.verify():
        return f"{problems}"
    found = bits(store)
    return "other records than without kills" if any(found[id] != wanted[id] for id in found) or (whole and found != wanted) else None


def flipped(content: bytes, place: int, draw: random.Random) -> bytes:
    return content[:place] + bytes([content[place] ^ draw.randint(1, 255)]) + content[place + 1 :]


# --- bytes --------------------------------------------------------------------------------------------------------------


def record_bytes(folder: Path, draw: random.Random) -> Outcomes:
    """Every byte of a small record changed: verify names it, and nothing that is read differs from what was written."""
    store, spec = RecordStore(folder), short()
    record, _ = written(store, spec, images=30)
    logits, state = record.logits(), record.state(store.weights(record.id))
    files = {path: path.read_bytes() for path in record.path.iterdir()}
    places = [(path, place) for path, content in files.items() for place in range(len(content))]
    for path, place in draw.sample(places, len(places)):
        path.write_bytes(flipped(files[path], place, draw))

        def case(path: Path = path, place: int = place) -> str | None:
            if not store.verify():
                return f"byte {place} of {path.name}: verify finds nothing"
            for found in store.find([spec]):
                if found.spec != spec or not torch.equal(found.logits(), logits):
                    return f"byte {place} of {path.name}: is used"
                try:
                    if not torch.equal(found.state(store.weights(found.id))["weight"], state["weight"]):
                        return f"byte {place} of {path.name}: its weights are used"
                except DamagedRecord:
                    continue
            return None

        yield judged(case)
        path.write_bytes(files[path])


def checkpoint_bytes(folder: Path, draw: random.Random) -> Outcomes:
    """Every byte of a checkpoint changed, and cuts of it: none is continued."""
    path, settings = folder / "x.pt", Settings(short().id, "fp32", 1, "cpu")
    state = {"model": {"w": torch.randn(500)}, "losses": torch.randn(20), "curve": [{"epoch": 1}]}
    checkpoint.write(path, settings, 3, state)
    content = path.read_bytes()
    cases = [flipped(content, place, draw) for place in range(len(content))] + [content[:length] for length in range(len(content))]
    for changed in draw.sample(cases, len(cases)):
        path.write_bytes(changed)

        def case() -> str | None:
            try:
                checkpoint.read(path, settings)
            except DamagedCheckpoint:
                return None
            return "a damaged checkpoint is continued"

        yield judged(case)


def sealed_nonsense(folder: Path, draw: random.Random) -> Outcomes:
    """Records of whole files and wild content: verify and list go on, one line each."""
    store = RecordStore(folder)
    record, _ = written(store, short(), images=30)
    good, _ = written(store, short(seed=1), images=30)
    files = {path: path.read_bytes() for path in record.path.iterdir()}
    text, tensors = json.loads((record.path / "record.json").read_text()), load_file(record.path / "tensors.safetensors")
    wild = [None, [], {}, "", 3, -1, 1e308, "x" * 9000, [[[]]], {"a": 1}, True, "\u2028", "\x00", [3] * 7]
    while True:
        if draw.random() < 0.5:
            changed = json.loads(json.dumps(text))
            node, key = changed, draw.choice(list(changed))
            while isinstance(node[key], (dict, list)) and node[key] and draw.random() < 0.7:
                node = node[key]
                key = draw.choice(list(node)) if isinstance(node, dict) else draw.randrange(len(node))
            node[key] = draw.choice(wild)
            (record.path / "record.json").write_text(json.dumps(changed))
        else:
            name = draw.choice(list(tensors))
            shape = [draw.choice([0, 1, 2, 7, 10, 60]) for _ in range(draw.randint(0, 4))]
            kind = draw.choice([torch.float16, torch.int16, torch.bool, torch.float64, torch.uint8])
            other = draw.choice([None, torch.zeros(shape, dtype=kind), torch.full(shape, torch.nan), -torch.ones(shape).short()])
            kept = {**tensors, name: other}
            save_file({key: value for key, value in kept.items() if value is not None}, record.path / "tensors.safetensors")
        seal(record.path)

        def case() -> str | None:
            problems = store.verify()
            if any("\n" in problem or good.id in problem for problem in problems) or len(problems) > 1:
                return f"not one line: {problems}"
            if good.id not in {found.id for found in store.list()}:
                return "the other record is lost"
            if not problems:  # then everything must be readable
                found = store.find([record.spec])
                _ = [(each.report(), each.probe, each.train_probe, each.features, each.curve, each.provenance) for each in found]
                return None if len(found) else "whole, and not found"
            return None

        yield judged(case)
        for path, content in files.items():
            path.write_bytes(content)


# --- kills and file operations ------------------------------------------------------------------------------------------


def faulty(where: Path, number: int, kind: str) -> Callable[[], int]:
    """Make one file operation below a folder raise or kill this process, or cut the newest file and kill it. Returns a counter."""
    count = 0

    def operation(reading: bool = False) -> None:
        nonlocal count
        count += 1
        if count != number:
            return
        if kind == "raise":
            raise OSError(5, "Input/output error") if reading else OSError(28, "No space left on device")
        if kind == "cut":
            newest = max((path for path in where.rglob("*") if path.is_file()), key=lambda path: path.stat().st_mtime_ns, default=None)
            if newest is not None:
                os.truncate(newest, newest.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple) -> None:
        known = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.listdir", "os.scandir", "os.truncate")
        if event in known and arguments and isinstance(arguments[0], (str, os.PathLike)) and str(arguments[0]).startswith(str(where)):
            operation(reading=event in ("os.listdir", "os.scandir") or (event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR)))

    def counted(function: Callable, reading: bool = False) -> Callable:
        def wrapped(*arguments: object, **fields: object) -> object:
            operation(reading)
            return function(*arguments, **fields)

        return wrapped

    os.fsync, stores.save_file = counted(os.fsync), counted(stores.save_file)
    checksums.sha256, records.load_file = counted(checksums.sha256, reading=True), counted(records.load_file, reading=True)
    sys.addaudithook(hook)
    return lambda: count


def operations(action: Callable[[RecordStore], None], folder: Path, draw: random.Random) -> Outcomes:
    """Every file operation of an action fails once, in three ways; afterwards the same action gives the same bits."""
    reference, counted = RecordStore(folder / "reference"), folder / "count"

    def count() -> None:
        counter = faulty(reference.path, 0, "")
        action(reference)
        counted.write_text(str(counter()))

    if in_child(count) != 0:
        yield "the action fails without any fault"
        return
    wanted = bits(reference)
    cases = [(number, kind) for number in range(1, int(counted.read_text()) + 1) for kind in ("raise", "cut", "kill")]
    for number, kind in draw.sample(cases, len(cases)):
        store = RecordStore(folder / "store")

        def broken(store: RecordStore = store, number: int = number, kind: str = kind) -> None:
            faulty(store.path, number, kind)
            action(store)

        def case(store: RecordStore = store, number: int = number, kind: str = kind, broken: Callable = broken) -> str | None:
            what = f"{kind} at operation {number}"
            status = in_child(broken)
            if status == 4 or (kind != "raise" and status != -9):
                return f"{what}: ended with {status}"
            if any(content != wanted[id] for id, content in bits(store).items()):
                return f"{what}: a record that is listed differs"
            problems = store.verify()
            if problems and kind != "cut":
                return f"{what}: {problems}"
            for id in [id for id in wanted if any(id in problem for problem in problems)]:  # as the message says
                shutil.rmtree(store.path / id, ignore_errors=True)
                (store.path / ".weights" / f"{id}.safetensors").unlink(missing_ok=True)
            if (status := in_child(lambda: action(store))) != 0:
                return f"{what}: the next one ends with {status}"
            if bits(store) != wanted or store.verify():
                return f"{what}: the next one gives other records"
            return None

        yield judged(case)
        shutil.rmtree(store.path, ignore_errors=True)


def puts(folder: Path, draw: random.Random) -> Outcomes:
    """The file operations of writing a record."""
    return operations(lambda store: None if short().id in store else void(written(store, short(), images=30)), folder, draw)


def runs(folder: Path, draw: random.Random) -> Outcomes:
    """The file operations of a teacher and its student: locks, checkpoints, records, the weights that are read again."""
    warm(folder)
    return operations(lambda store: train([short("kd", epochs=1, teacher=taught(epochs=1))], store), folder, draw)


def void(_: object) -> None:
    return None


def warm(folder: Path) -> None:
    """Train once here, so that children find everything loaded; beside a GPU autograd allows no fork after that."""
    if not torch.cuda.is_available():
        train([short("ce", epochs=1)], RecordStore(folder / "warm"))


def train(specs: list[RunSpec], store: RecordStore, workers: int = 0, executor: Executor | None = None) -> None:
    machine = Machine(device="cpu", checkpoint_seconds=0.0)
    with warnings.catch_warnings(action="ignore"):  # a damaged checkpoint is named in one
        found = collect(specs, store, workers=workers, machine=machine, progress=False, executor=executor)
    if found.failed:
        raise RuntimeError("\n".join(found.failed.values()))


def some() -> list[RunSpec]:
    """Two students of one teacher, and one of none."""
    return [short("kd", teacher=taught(epochs=2)), short("ce"), short("kd_mixup", teacher=taught(epochs=2), seed=1)]


def kills(folder: Path, draw: random.Random) -> Outcomes:
    """Kills at random moments, half of them while checkpoints are damaged: what is there is whole, what goes on gives the same bits."""
    specs = some()
    reference = RecordStore(folder / "reference")
    warm(folder)
    began = time.monotonic()
    if in_child(lambda: train(specs, reference)) != 0:
        yield "fails without any kill"
        return
    length, wanted = time.monotonic() - began, bits(reference)
    for number in range(10**6):
        store = RecordStore(folder / f"store{number}")
        status = -9

        def harm(store: RecordStore = store) -> None:
            """Change a byte of a checkpoint where it lies, in the middle of its run."""
            for path in (store.path / ".checkpoints").glob("*.pt"):
                if draw.random() < 0.1:
                    with suppress(OSError, ValueError), path.open("r+b") as file:  # the run has put another in its place
                        file.seek(draw.randrange(path.stat().st_size))
                        file.write(draw.randbytes(1))

        while status == -9:

            def case(store: RecordStore = store, harm: Callable = harm) -> str | None:
                nonlocal status
                beside = draw.choice([harm, lambda: None])
                status = in_child(lambda: train(specs, store), kill_after=draw.uniform(0, 1.2 * length), beside=beside)
                if status not in (0, -9):
                    return f"ended with {status}"
                return unlike(store, wanted, whole=status == 0)

            yield judged(case)
        shutil.rmtree(store.path, ignore_errors=True)


RANK = "import sys, trust\nwith trust.joined('cpu'): trust.train([trust.short('ce', epochs=4)], trust.RecordStore(sys.argv[1]))"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "--no-python", sys.executable, "-c", RANK]


def work(kind: str, store: RecordStore) -> None:
    """Train in several processes, which this one starts; what they say of their end stands in a file beside the store."""
    os.dup2(os.open(said(store), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    places = Path(records.__file__).parents[1], Path(__file__).parent
    os.environ |= {"PYTHONPATH": os.pathsep.join(map(str, places)), "OMP_NUM_THREADS": "1"}
    try:
        if kind == "ranks":
            os.execv(sys.executable, [*TORCHRUN, str(store.path)])
        elif kind == "workers":
            train(some(), store, workers=2)
        else:
            from distributed import LocalCluster

            with LocalCluster(2, threads_per_worker=1, dashboard_address=":0") as local, connected(local.scheduler_address) as executor:
                train(some(), store, executor=executor)
    except (OSError, RuntimeError, ValueError):
        traceback.print_exc()
        sys.exit(3)


def said(store: RecordStore) -> Path:
    return store.path.with_name(f"{store.path.name}.stderr")


def several(kind: str, folder: Path, draw: random.Random) -> Outcomes:
    """One of several processes killed at a random moment, then again, then none: all end, and then the bits are those without kills."""

    def start(store: RecordStore, kill_after: float = math.inf) -> int:
        """Return the status of the first process. RuntimeError where one is there a minute after it, or the first one ten minutes on."""
        first = multiprocessing.get_context("fork").Process(target=work, args=(kind, store))
        first.start()
        began, parent = time.monotonic(), psutil.Process(first.pid)
        every = {parent}
        while first.is_alive() and (passed := time.monotonic() - began) < 600:
            with suppress(psutil.NoSuchProcess):
                every |= set(parent.children(recursive=True))
                if passed > kill_after:
                    draw.choice(sorted((each for each in every if each.is_running()), key=lambda each: each.pid)).kill()
                    kill_after = math.inf
            time.sleep(0.01)
        first.join(60)  # before anybody else takes its status
        _, alive = psutil.wait_procs(every - {parent}, timeout=60)
        alive += [parent] * first.is_alive()
        commands = [each.info["cmdline"] for each in psutil.process_iter(["cmdline"]) if each in alive]
        for each in alive:
            each.kill()
        if alive:
            raise RuntimeError(f"{len(alive)} processes of {kind} do not end: {commands}")
        return first.exitcode

    reference, length = RecordStore(folder / "reference"), 15.0
    if (start(reference) if kind == "ranks" else in_child(lambda: train(some(), reference))) != 0:
        yield "fails without any kill"
        return
    wanted = bits(reference)
    for number in range(10**6):
        store = RecordStore(folder / f"store{number}")
        for kill_after in (draw.uniform(0, length), draw.uniform(0, length), None):

            def case(store: RecordStore = store, kill_after: float | None = kill_after) -> str | None:
                nonlocal length
                began = time.monotonic()
                status = start(store, kill_after or math.inf)
                length = min(length, time.monotonic() - began) if status == 0 else length
                if status not in ([0] if kill_after is None else [0, 3, -9] + [1] * (kind == "ranks")):  # 1 is what torchrun makes of them
                    errors = "".join(said(store).read_text(errors="replace").splitlines(True)[-12:])
                    return f"ended with {status}, a process killed after {kill_after} s\n{errors}"
                return unlike(store, wanted, whole=status == 0)

            yield judged(case)


# --- what others hand in ------------------------------------------------------------------------------------------------


def specs(folder: Path, draw: random.Random) -> Outcomes:
    """Specs of random fields and values: made, and the same after a round trip, or named in short lines."""
    plain = [0, 1, -1, 0.5, 2, "ce", "kd", "kd_mixup", "digits", "cnn8", "std", "fitted", "", True, [1, 2], (3, 5), {"model": "cnn16"}]
    names, wild = [*RunSpec.model_fields, "self", "x"], [*plain, *VALUES.values()]
    base = {"data": "digits", "student": "cnn8", "arm": "kd", "teacher": {"model": "cnn16"}}
    inner = ["model", "arm", "seed", "temperature", "temperature_factor", "temperature_spread", "epochs", "train_skip", "train_size"]
    while True:
        fields = {**base, **{draw.choice(names): draw.choice(wild) for _ in range(draw.randint(1, 4))}}
        if draw.random() < 0.3:
            fields["teacher"] = {"model": "cnn16", draw.choice(inner): draw.choice(wild)}

        def case(fields: dict = fields) -> str | None:
            try:
                spec = RunSpec(**fields)
            except SpecError as error:
                return None if all(len(line) < 1000 for line in str(error).splitlines()) else "a line of more than 1000 characters"
            again = RunSpec(**json.loads(spec.canonical()))
            return None if again == spec and again.id == spec.id and len(spec.id) == 16 else f"{spec!r} comes back as {again!r}"

        yield judged(case)


def picture(shade: int, format: str = "PNG") -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), shade, np.uint8)).save(content, format)
    return content.getvalue()


def zips(folder: Path, draw: random.Random) -> Outcomes:
    """Zips of images with changed bytes, cuts, wild headers, names that point elsewhere: read, or named in a line."""
    members = [f"{part}/{label}/{i}.png" for part in ("train", "test") for label in "ab" for i in range(3)]
    names = ["../out.png", "/etc/x.png", "train/a/../../../x.png", "train\\..\\..\\x.png", "train/a/\0.png", "train/a/" + "x" * 300,
             "train/a/0.PNG", "train/c/0.png", "train", "train/a", "train/\u202e/0.png", "CON/a.png"]  # fmt: skip
    for number in range(10**9):
        path = folder / f"z{number}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for i, name in enumerate(members):
                kind = draw.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
                archive.writestr(name, picture(20 * i, draw.choice(["PNG", "JPEG", "GIF"])), kind)
            if draw.random() < 0.3 and (extra := draw.choice(names)) not in members:
                info = zipfile.ZipInfo(extra)
                info.external_attr = draw.choice([0, 0o120777, 0o010644, 0o060644]) << 16
                archive.writestr(info, draw.choice([b"", b"/etc/passwd", picture(1), os.urandom(50)]))
        content = bytearray(path.read_bytes())
        for _ in range(draw.choice([0, 1, 1, 2, 8])):
            mark = content.find(draw.choice([b"PK\1\2", b"PK\3\4", b"PK\5\6"]), draw.randrange(len(content)))
            place = draw.randrange(len(content)) if mark < 0 else min(len(content) - 1, mark + draw.randrange(46))
            content[place : place + 4] = draw.choice([os.urandom(1), b"\xff\xff\xff\xff", b"\0\0\0\0", os.urandom(4), b"\x0e", b"\x63"])
        if draw.random() < 0.2:
            del content[draw.randrange(len(content)) :]
        path.write_bytes(content)

        def case(path: Path = path) -> str | None:
            before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            try:
                with warnings.catch_warnings(action="ignore"):  # what is left out is named in one, which pytest makes an error
                    load_data(f"folder:{path}", image_size=8, cache=folder / "cache")
            except (ValueError, FileNotFoundError) as error:
                if isinstance(error, UnicodeError) or "\n" in str(error) or len(str(error)) > 2000:
                    return f"{type(error).__name__} of {len(str(error))} characters: {str(error)[:200]}"
            if time.monotonic() - before[0] > 20 or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before[1] > 2**20:
                return "more than 20 seconds or 1 GB"
            return None

        yield judged(case)
        path.unlink()


def code(folder: Path, draw: random.Random) -> Outcomes:
    """Pickles where tensors, weights, checkpoints and exported networks are read: none runs."""
    store, flag = RecordStore(folder / "store"), folder / "went off"
    record, _ = written(store, short(), images=30)
    bomb, saved = pickle.dumps(Bomb(str(flag))), io.BytesIO()
    torch.save({"model": Bomb(str(flag))}, saved)
    files = {path: path.read_bytes() for path in record.path.iterdir()}
    settings = Settings(short().id, "fp32", 1, "cpu")

    def checkpoints() -> None:
        checkpoint.write(folder / "x.pt", settings, 1, {"model": Bomb(str(flag))})
        checkpoint.read(folder / "x.pt", settings)

    for content in (bomb, saved.getvalue()):
        for path in files:
            path.write_bytes(content)
            if path.name != "SHA256SUMS":
                seal(record.path)
            for use in (
                store.verify, store.list, lambda: store.load(record.id).logits(), lambda: record.state(store.weights(record.id)),
            ):  # fmt: skip
                yield exploded(use, flag)
            for each, whole in files.items():
                each.write_bytes(whole)
        for suffix in (".pt2", ".pt", ".safetensors", ".onnx", ".png", ""):
            (folder / f"x{suffix}").write_bytes(content)
            yield exploded(lambda suffix=suffix: export.load(folder / f"x{suffix}"), flag)
    yield exploded(checkpoints, flag)


def exploded(use: Callable, flag: Path) -> str:
    try:
        use()
    except (ValueError, DamagedRecord):
        pass
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "code ran" if flag.exists() else ""


# --- the campaign -------------------------------------------------------------------------------------------------------

TRIALS: dict[str, tuple[Callable[[Path, random.Random], Outcomes], float, int]] = {  # share of the time; cases at most
    "bytes of a record changed": (record_bytes, 2, 10**6),
    "bytes of a checkpoint changed, cuts": (checkpoint_bytes, 1, 10**6),
    "records of whole files and wild content": (sealed_nonsense, 1, 10**6),
    "file operations of a record failed": (puts, 1, 10**6),
    "file operations of a run failed": (runs, 4, 10**6),
    "kills at random moments": (kills, 3, 10**6),
    "specs": (specs, 1, 100_000),
    "zips of images": (zips, 4, 4_000),
    "foreign pickles": (code, 0.3, 10**6),
    # last, as a case of theirs takes as long as it takes
    "kills among local workers": (partial(several, "workers"), 4, 10**6),
    "kills among Dask workers": (partial(several, "dask"), 4, 10**6),
    "kills among ranks": (partial(several, "ranks"), 3, 10**6),
}


def campaign(seconds: float, names: list[str] | None = None, seed: int = 0) -> list[Tally]:
    """Run trials, each for its share of the time at most; what one leaves is shared by those behind it."""
    tallies, chosen = [], {name: TRIALS[name] for name in names or TRIALS}
    end, shares = time.monotonic() + seconds, sum(share for _, share, _ in chosen.values())
    for name, (trial, share, most) in chosen.items():
        tally, began = Tally(name), time.monotonic()
        until = began + (end - began) * share / shares
        shares -= share
        with tempfile.TemporaryDirectory() as folder:
            cases = trial(Path(folder).resolve(), random.Random(seed))
            while tally.tried < most and (tally.tried == 0 or time.monotonic() < until):
                outcome = next(cases, None)
                if outcome is None:
                    tally.whole = True
                    break
                tally.tried += 1
                tally.failed += [outcome] if outcome else []
        tally.whole |= tally.tried >= most
        tally.seconds = time.monotonic() - began
        tallies.append(tally)
    return tallies


def main() -> int:
    """Print what was tried and what failed; 1 where anything did."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="at most (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="of the order and the values (default: 0)")
    parser.add_argument("--only", nargs="+", choices=list(TRIALS), help="trials (default: all)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tallies = campaign(60 * options.minutes, options.only, options.seed)
    print(f"{'':<42}{'tried':>8} {'failed':>7} {'seconds':>8}")
    for tally in tallies:
        print(
            f"{tally.name:<42}{tally.tried:>8} {len(tally.failed):>7} {tally.seconds:>8.1f}"
            + ("" if tally.whole else "  stopped by the clock")
        )
    print(f"{'all':<42}{sum(tally.tried for tally in tallies):>8} {sum(len(tally.failed) for tally in tallies):>7}")
    for tally in tallies:
        for outcome in tally.failed[:5]:
            print(f"\n{tally.name}: {outcome}")
    return 1 if any(tally.failed for tally in tallies) else 0


if __name__ == "__main__":
    raise SystemExit(main())
