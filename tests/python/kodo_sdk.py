"""Drives a Kodo service with the official Python SDK and asserts what it answers.

Usage: kodo_sdk.py UC_URL SOURCE_URL BUCKET ACCESS_KEY SECRET_KEY PRIVATE(0|1) WORK_FOLDER
"""

import hashlib
import io
import os
import sys
from urllib.parse import quote

import requests
import qiniu
from qiniu import Auth, BucketManager, build_batch_copy, build_batch_delete, build_batch_move, build_batch_stat
from qiniu import etag, put_data, put_file, put_file_v2, set_default

UC, SOURCE, BUCKET, AK, SK, PRIVATE, WORK = sys.argv[1:8]
PRIVATE = PRIVATE == "1"
MIB = 1 << 20
# Only the address of the region query is given; every other host comes from its answer.
set_default(default_uc_host=UC, connection_timeout=20, connection_retries=0)
auth = Auth(AK, SK)
manager = BucketManager(auth)


def check(condition, *what):
    if not condition:
        raise AssertionError(what)


def good(answer):
    ret, info = answer[0], answer[-1]
    check(info.status_code == 200 and info.req_id, info)
    return ret


def code(answer, expected):
    info = answer[-1]
    check(info.status_code == expected, expected, info)
    check("error" in info.json(), info)


def content(size):
    return bytes(i % 251 for i in range(251)) * (size // 251) + bytes(i % 251 for i in range(size % 251))


def file(name, size):
    path = os.path.join(WORK, name)
    with open(path, "wb") as out:
        out.write(content(size))
    return path


def token(key=None, policy=None):
    return auth.upload_token(BUCKET, key, 3600, policy)


KEYS = [
    "a.txt", "dir/b.txt", "dir/sub/c.txt", "目录/文 件+😀.txt", "100%/x?y#z+w&v=1", "it's(1)!*~.txt",
    "dir//double", "/lead", "trail/", "a/../up", "", "q%41", "list", "stat/x", "v4/query",
]


def uploads():
    for key in KEYS:
        ret = good(put_data(token(key), key, ("<%s>" % key).encode(), mime_type="text/plain", check_crc=True))
        check(ret["key"] == key, ret, key)
    ret = good(put_data(token(), None, b"named by its hash"))
    check(ret["key"] == ret["hash"], ret)
    good(manager.delete(BUCKET, ret["key"]))
    policy = {"returnBody": '{"k":"$(key)","n":$(fsize),"v":"$(x:v)","m":"$(mimeType)"}', "endUser": "me"}
    ret = good(put_data(token("meta.json", policy), "meta.json", b"{}", params={"x:v": "w"},
                        metadata={"x-qn-meta-name": "值"}))
    check(ret == {"k": "meta.json", "n": 2, "v": "w", "m": "application/json"}, ret)
    stat = good(manager.stat(BUCKET, "meta.json"))
    check(stat["x-qn-meta"] == {"name": "值"} and stat["endUser"] == "me", stat)
    check(stat["md5"] == hashlib.md5(b"{}").hexdigest(), stat)

    small = file("small.bin", 5 * MIB + 1)
    ret = good(put_file_v2(token("form.bin"), "form.bin", small))
    check(ret["hash"] == etag(small), ret)
    large = file("large.bin", 10 * MIB + 7)
    ret = good(put_file(token("v1.bin"), "v1.bin", large, version="v1", mime_type="video/mp4"))
    check(ret["hash"] == etag(large) == "lstfskeYVVVtRQ2itANuz8O4aUqn", ret)
    check(good(manager.stat(BUCKET, "v1.bin"))["mimeType"] == "video/mp4")
    ret = good(put_file_v2(token("v2/grid.bin"), "v2/grid.bin", large, bucket_name=BUCKET, part_size=4 * MIB,
                           metadata={"x-qn-meta-a": "1"}))
    check(ret["hash"] == "lstfskeYVVVtRQ2itANuz8O4aUqn", ret)
    check(good(manager.stat(BUCKET, "v2/grid.bin"))["x-qn-meta"] == {"a": "1"})
    ret = good(put_file_v2(token("v2/parts.bin"), "v2/parts.bin", large, bucket_name=BUCKET, part_size=5 * MIB))
    check(ret["hash"].startswith("n"), ret)
    kept = file("kept.txt", 10)
    good(put_file_v2(token("kept.txt"), "kept.txt", kept, keep_last_modified=True, metadata={}))

    code(put_data(token("a.txt", {"insertOnly": 1}), "a.txt", b"other"), 614)
    good(put_data(token("a.txt", {"insertOnly": 1}), "a.txt", b"<a.txt>"))
    code(put_data(token("a.txt"), "b.txt", b"other"), 403)
    code(put_data(token("big", {"fsizeLimit": 3}), "big", b"four"), 413)
    code(put_data(token("small", {"fsizeMin": 5}), "small", b"four"), 403)
    code(put_data(token("t", {"mimeLimit": "image/*"}), "t", b"x", mime_type="text/plain"), 403)
    code(put_data(auth.upload_token(BUCKET, "late", -10), "late", b"x"), 401)


ALL = sorted(KEYS + ["meta.json", "form.bin", "v1.bin", "v2/grid.bin", "v2/parts.bin", "kept.txt"],
             key=lambda k: k.encode())


def pages(**how):
    marker, items, prefixes, count = None, [], [], 0
    while True:
        ret, eof, info = manager.list(BUCKET, marker=marker, **how)
        check(info.status_code == 200, info)
        items += [i["key"] for i in ret.get("items") or []]
        prefixes += ret.get("commonPrefixes") or []
        count += 1
        if eof:
            return items, prefixes, count
        marker = ret["marker"]


def listing():
    check(pages() == (ALL, [], 1))
    items, _, count = pages(limit=4)
    check(items == ALL and count == -(-len(ALL) // 4), items, count)
    items, _, _ = pages(prefix="目录/文 ", limit=10)
    check(items == ["目录/文 件+😀.txt"], items)
    for limit in (1000, 2):
        items, prefixes, _ = pages(delimiter="/", limit=limit)
        check(items == [k for k in ALL if "/" not in k], items)
        check(prefixes == sorted({k.split("/")[0] + "/" for k in ALL if "/" in k}, key=lambda k: k.encode()), prefixes)
        items, prefixes, _ = pages(prefix="dir/", delimiter="/", limit=limit)
        check((items, prefixes) == (["dir/b.txt"], ["dir//", "dir/sub/"]), items, prefixes)
    ret, eof, info = manager.list(BUCKET, limit=1)
    item = ret["items"][0]
    check(item["key"] == "" and item["fsize"] == 2 and item["status"] == 0 and item["type"] == 0, item)
    code(manager.list(BUCKET, marker="no marker"), 640)
    code(manager.list(BUCKET, limit=1001), 400)
    try:
        manager.list("other")
    except RuntimeError as error:
        check("no such bucket" in str(error), error)
    else:
        check(False, "the region query knows a bucket that is not there")


def objects():
    for key in KEYS:
        stat = good(manager.stat(BUCKET, key))
        check(stat["fsize"] == len(("<%s>" % key).encode()), key, stat)
        check(stat["hash"] == qiniu.utils.etag_stream(io.BytesIO(("<%s>" % key).encode())), key, stat)
    code(manager.stat(BUCKET, "none"), 612)
    ret, info = manager.batch(build_batch_stat(BUCKET, KEYS))
    check(info.status_code == 200 and all(r["code"] == 200 for r in ret), ret)
    # The SDK parses only bodies of status 200 itself.
    _, info = manager.batch(build_batch_stat(BUCKET, ["a.txt", "none"]))
    ret = info.json()
    check(info.status_code == 298 and [r["code"] for r in ret] == [200, 612], ret)
    check(ret[1]["data"]["error"] == "no such file or directory", ret)

    good(manager.copy(BUCKET, "a.txt", BUCKET, "copy.txt"))
    code(manager.copy(BUCKET, "a.txt", BUCKET, "copy.txt"), 614)
    good(manager.copy(BUCKET, "a.txt", BUCKET, "copy.txt", force="true"))
    good(manager.move(BUCKET, "copy.txt", BUCKET, "moved//odd"))
    code(manager.stat(BUCKET, "copy.txt"), 612)
    ret, info = manager.batch(build_batch_copy(BUCKET, {"a.txt": "c1", "list": "c2"}, BUCKET, force="true"))
    check(info.status_code == 200, ret)
    ret, info = manager.batch(build_batch_move(BUCKET, {"c1": "c3"}, BUCKET))
    check(info.status_code == 200, ret)

    good(manager.change_mime(BUCKET, "c2", "x/y"))
    check(good(manager.stat(BUCKET, "c2"))["mimeType"] == "x/y")
    good(manager.change_type(BUCKET, "c2", 1))
    check(good(manager.stat(BUCKET, "c2"))["type"] == 1)
    code(manager.change_type(BUCKET, "c2", 1), 400)
    code(manager.restore_ar(BUCKET, "c2", 1), 400)
    good(manager.change_type(BUCKET, "c2", 2))
    good(manager.restore_ar(BUCKET, "c2", 1))
    check(good(manager.stat(BUCKET, "c2"))["restoreStatus"] == 1)
    good(manager.change_status(BUCKET, "c3", "1", None))
    check(good(manager.stat(BUCKET, "c3"))["status"] == 1)
    check(get(SOURCE, "c3", sign=True).status_code == 403)
    code(manager.change_status(BUCKET, "c3", "1", None), 400)
    code(manager.change_status(BUCKET, "c3", "0", {"hash": "other"}), 608)
    good(manager.delete_after_days(BUCKET, "c3", "7"))
    check(good(manager.stat(BUCKET, "c3"))["expiration"] > 0)
    good(manager.set_object_lifecycle(BUCKET, "c3", to_line_after_days=10, to_archive_after_days=20,
                                      to_deep_archive_after_days=30, delete_after_days=40))
    stat = good(manager.stat(BUCKET, "c3"))
    check(stat["transitionToIA"] < stat["transitionToARCHIVE"] < stat["transitionToDeepArchive"], stat)

    check(good(manager.buckets()) == [BUCKET])
    check(good(manager.bucket_info(BUCKET))["private"] == int(PRIVATE))
    bad = BucketManager(Auth(AK, "wrong"))
    code(bad.stat(BUCKET, "a.txt"), 401)


def get(base, key, sign, expires=3600, **how):
    url = "%s/%s" % (base, quote(key.encode(), safe=""))
    return requests.get(auth.private_download_url(url, expires) if sign else url, timeout=20, **how)


def downloads():
    domain = "http://" + good(manager.list_domains(BUCKET))[0]
    for key in KEYS:
        expected = ("<%s>" % key).encode()
        for base in (domain, SOURCE):
            answer = get(base, key, sign=True)
            check(answer.status_code == 200 and answer.content == expected, base, key, answer)
            check(answer.headers["ETag"].strip('"') == good(manager.stat(BUCKET, key))["hash"], key)
            answer = get(base, key, sign=False)
            open_to_all = base == domain and not PRIVATE
            check(answer.status_code == (200 if open_to_all else 401), base, key, answer)
    answer = get(domain, "v1.bin", sign=True, headers={"Range": "bytes=4194300-4194310"})
    check(answer.status_code == 206 and answer.content == content(5 * MIB)[4194300:4194311], answer)
    check(answer.headers["Content-Range"] == "bytes 4194300-4194310/%d" % (10 * MIB + 7), answer.headers)
    check(hashlib.md5(get(domain, "v2/parts.bin", sign=True).content).hexdigest() == "f1e452cb95b71abd0bd4b07de46cecf4")
    check(get(domain, "meta.json", sign=True).headers["x-qn-meta-name"].encode("latin-1").decode() == "值")
    check(get(SOURCE, "a.txt", sign=True, expires=-10).status_code == 401)
    check(get(domain, "none", sign=True).status_code == 404)


def deletion():
    good(manager.delete(BUCKET, "v1.bin"))
    code(manager.delete(BUCKET, "v1.bin"), 612)
    code(manager.stat(BUCKET, "v1.bin"), 612)
    rest = pages()[0]
    ret, info = manager.batch(build_batch_delete(BUCKET, rest))
    check(info.status_code == 200 and len(ret) == len(rest), ret)
    check(pages() == ([], [], 1))


uploads()
listing()
downloads()
objects()
deletion()
print("the SDK agrees: version", qiniu.__version__)
