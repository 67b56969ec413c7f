#!/usr/bin/env python3
"""Gets a snapshot back out of a plain (unencrypted) qbak store, without qbak:
    python3 rescue.py STORE SNAPSHOT|latest TARGET
STORE is the store's folder, SNAPSHOT a name such as 2026-11-21T22-48-21Z, TARGET a new or empty folder. Needs Python
3.8 and `zstd`. Every blob's SHA-1 is checked. What cannot be had whole is named on standard error, and the exit code is
1. A snapshot file leads through pages (lists of references) to segments (lists of objects), see docs/format.md; these,
block lists and contents are blobs, named by SHA-1, and lie in groups/*/packs/*/*.pack. A key that is no path becomes one
name in TARGET, percent-encoded; TARGET/.qbak-keys.jsonl says which key each such name is."""
import base64, bisect, glob, hashlib, json, os, re, shutil, struct, subprocess, sys, urllib.parse

DATA, LIST, SEGMENT, PAGE = range(4)  # kinds of blobs
PART, SIDE, snapshots, missing = b".qbak-tmp-rescue", b".qbak-keys.jsonl", {}, []
places = {}  # (kind, id) -> where its copies lie: (pack, offset, stored length, length, codec)

def miss(key, why):
    missing.append(key)
    print(f"MISSING {key.decode('utf-8', 'backslashreplace')!r}: {why}", file=sys.stderr)

def read_table(path):  # notes what a pack holds: before the 64 bytes at its end lies a table, 68 bytes for each blob
    with open(path, "rb") as pack:
        end = pack.seek(0, os.SEEK_END) - 64
        pack.seek(max(end, 0))
        magic, version, _, count, at, _ = struct.unpack("<8sHHIQQ", pack.read(32))
        if magic != b"QBAKPEND" or version > 0 or at + count * 68 > end:
            raise ValueError("it does not end as a pack of this version does")
        pack.seek(at)
        for ident, kind, codec, offset, stored, length in struct.iter_unpack("<20sBBxxIII32x", pack.read(count * 68)):
            places.setdefault((kind, ident), []).append((path, offset, stored, length, codec))

def unzstd(frames):  # the contents of some zstd frames in a row; nothing if one of them is damaged
    done = subprocess.run(["zstd", "-dcq"], input=b"".join(frames), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return done.stdout if done.returncode == 0 else b""

def fetch(names, turn=0):
    """The bytes of some blobs, by (kind, id), with one zstd for all of them. What is lost or damaged is left out."""
    names = {name for name in names if len(places.get(name, ())) > turn}
    raw, packed, at = {}, [], 0
    for (path, offset, stored, length, codec), name in sorted((places[name][turn], name) for name in names):
        try:
            with open(path, "rb") as pack:
                pack.seek(offset)
                raw[name] = pack.read(stored)
                packed += [(name, length)] if codec == 1 else []
        except OSError as error:
            print(error, file=sys.stderr)
    plain = unzstd([raw[name] for name, _ in packed]) if packed else b""
    whole = len(plain) == sum(length for _, length in packed)
    for name, length in packed:  # of a batch with a damaged frame, one by one
        raw[name] = plain[at:at + length] if whole else unzstd([raw[name]])
        at += length
    got = {name: data for name, data in raw.items() if hashlib.sha1(data).digest() == name[1]}
    return {**fetch(names - got.keys(), turn + 1), **got} if names else {}  # the next copies of those that failed

def lines(refs, height):  # the lines of the segments that references lead to, in order
    for ref in refs:
        name = (PAGE if height else SEGMENT, bytes.fromhex(ref["id"]))
        below = fetch([name]).get(name, b"").split(b"\n")[:-1]
        below or miss(get(ref, "first"), f"the list of {ref['entries']} objects from here on is lost")
        yield from lines([json.loads(line) for line in below], height - 1) if height else below

def get(line, field):
    return base64.b64decode(line[field + "_b64"]) if field + "_b64" in line else line[field].encode()

def is_plain(key, of_folder):  # whether it can be a path; control bytes and qbak's own names only come from folders
    odd = any(part in (b"", b".", b"..") or len(part) > 255 or b"\0" in part for part in key.split(b"/"))
    return not odd and (of_folder or not re.search(rb"[\0-\x1f\x7f]|(^|/)\.qbak-", key, re.I))

def path_of(key, keys, of_folder):  # the key itself if it can be a path, else all of it as one name that no key needs
    first = lambda least: next(iter(keys[(at := bisect.bisect_left(keys, least)):at + 1]), b"")
    is_folder = lambda path: first(path + b"/").startswith(path + b"/")
    if is_plain(key, of_folder) and not is_folder(key):
        return key
    name = (urllib.parse.quote(key, safe="").replace(".", "%2E") or "%").encode()
    taken = len(name) > 255 or first(name) == name or is_folder(name)
    return name[:180] + b"~" + hashlib.sha1(key).hexdigest()[:16].encode() if taken else name

def pieces(entry, small):
    """The bytes of an object: its one blob is in `small`, or a list names its blocks: 32 MiB of them at a time."""
    etag = base64.urlsafe_b64decode(entry["etag"])
    ids = etag[1:] if etag[0] == 0x16 else fetch([(LIST, etag[1:])]).get((LIST, etag[1:]), b"")
    for start in range(0, len(ids), 160):
        part = [(DATA, ids[at:at + 20]) for at in range(start, min(start + 160, len(ids)), 20)]
        blobs = small if etag[0] == 0x16 else fetch(part)
        yield from (blobs.get(name, b"") for name in part)

def finish(path, entry, bits):
    "mode" in entry and entry.get("kind") != "link" and os.chmod(path, entry["mode"] & bits)
    "put_time" in entry and os.utime(path, ns=(entry["put_time"],) * 2, follow_symlinks=False)

def restore(key, entry, small, keys, of_folder):
    path, kind = path_of(key, keys, of_folder), entry.get("kind", "object")
    if entry.get("state", "ok") != "ok":
        raise OSError(f"the snapshot only names it: {entry['state']}, {entry.get('reason')}")
    if kind == "folder" and is_plain(key[:-1], True):
        return os.makedirs(key, exist_ok=True)
    if (kind != "object" and path != key) or os.path.lexists(path):
        raise OSError("its name is taken, or no name that a folder can have had")
    os.makedirs(os.path.dirname(path) or b".", exist_ok=True)
    if kind == "link":
        os.symlink(get(entry, "target"), PART)
    else:
        with open(PART, "wb") as file:
            if sum(map(file.write, pieces(entry, small))) != entry.get("size", 0):
                raise OSError("bytes of it are lost or damaged in the store")
    finish(PART, entry, 0o1777)
    os.rename(PART, path)
    if path != key:
        text = key.decode("utf-8", "ignore")
        named = {"key": text} if text.encode() == key else {"key_b64": base64.b64encode(key).decode()}
        with open(SIDE, "a", encoding="utf-8") as side:
            print(json.dumps({"path": path.decode(), **named}, ensure_ascii=False), file=side)

def read_record(path):
    head, body = map(json.loads, open(path, "rb").read().split(b"\n", 1))
    plain = head["version"] == 0 and body.get("encryption", "none") == "none"
    plain or sys.exit(f"{path}: this script reads plain stores of version 0")
    snapshots.update({body["name"]: body} if head["qbak"] == "snapshot" else {})

def main(store, wanted, target):
    shutil.which("zstd") or sys.exit("the zstd program is needed, and not there")
    store = glob.escape(os.path.abspath(store))
    for path in sorted(glob.glob(store + "/**/*.[jp][sa]*", recursive=True)):  # *.json and *.pack
        try:
            read_table(path) if path.endswith(".pack") else read_record(path)
        except (OSError, KeyError, ValueError, struct.error) as error:
            print(f"{path}: {error!r}", file=sys.stderr)
    newest = max(snapshots.values(), key=lambda s: (s["sequence"], s["name"]), default={}).get("name")
    snapshot = snapshots.get(newest if wanted == "latest" else wanted) or sys.exit(f"it is none of {sorted(snapshots)}")
    os.makedirs(target, exist_ok=True)
    os.chdir(target)
    os.listdir() and sys.exit(f"{target} is not empty")
    entries = [json.loads(line) for line in lines(snapshot["manifest"]["refs"], snapshot["manifest"]["height"])]
    keys, of_folder = [get(entry, "key") for entry in entries], snapshot["source"]["url"].startswith("/")
    todo = sorted(zip(keys, entries), key=lambda one: one[1].get("kind") == "link")  # nothing is written through a link
    for start in range(0, len(todo), 50):
        small = fetch([(DATA, base64.urlsafe_b64decode(e.get("etag", ""))[1:]) for _, e in todo[start:start + 50]])
        for key, entry in todo[start:start + 50]:
            try:
                restore(key, entry, small, keys, of_folder)
            except OSError as error:
                miss(key, error)
                os.path.lexists(PART) and os.remove(PART)
    for key, entry in reversed(todo):  # a folder's mode and time come after everything in it
        if entry.get("kind") == "folder" and os.path.isdir(key):
            finish(key.rstrip(b"/"), entry, 0o7777)
    print(f"{len(todo)} objects of {snapshot['name']} in {target}; {len(missing)} times something is missing")
    sys.exit(1 if missing else 0)

main(*sys.argv[1:]) if len(sys.argv) == 4 else sys.exit(__doc__)
