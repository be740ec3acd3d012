# SPDX-License-Identifier: Apache-2.0
# The run file seen by h5py.  check FILE EXPECTED.json: every path, type, unit and value of the format, against values that the
# writer's test states; make FILE: a run file written by h5py alone, for the reader's test.
import json
import sys

import h5py
import numpy as np


def fixed(text, width=None):
    data = text.encode()
    return np.array(data, dtype=h5py.string_dtype("utf-8", width or max(len(data), 1)))


def check(path, expected):
    f = h5py.File(path, "r")
    attrs = {k: v.decode() if isinstance(v, bytes) else v for k, v in f.attrs.items()}
    assert attrs["format"] == "flashmorph-run", attrs
    assert attrs["format_major"] == 1 and attrs["format_minor"] == 0
    for key in ("uuid", "parent_uuid", "kind", "created_utc", "generator", "state"):
        assert attrs[key] == expected[key], (key, attrs[key])
    assert attrs["revision"] == expected["revision"] and f.attrs["revision"].dtype == np.uint64
    for name in ("config/json", "config/provenance", "model/json"):
        value = f[name]
        info = h5py.check_string_dtype(value.dtype)
        assert value.shape == () and info.encoding == "utf-8" and info.length is not None, name
        assert json.loads(value[()].decode()) == expected[name], name
    L, S = expected["layers"], expected["steps"]
    assert f["model/json"].attrs["layers"] == L
    C, E, N, D, R = 2, 2, 3, 3, 4
    table = {
        "steps/step": ("u4", (S,), "step"), "steps/tokens": ("u8", (S,), "token"), "steps/time": ("f8", (S,), "s"),
        "steps/lr": ("f4", (S,), "1"), "steps/loss/align": ("f4", (S,), "1"), "steps/loss/penalty": ("f4", (S,), "1"),
        "gates/alpha": ("f4", (S, L), "1"), "gates/raw": ("f4", (S, L), "1"), "gates/penalty": ("f4", (S,), "1"),
        "gates/score": ("f4", (L,), "1"), "layers/loss": ("f4", (S, L), "1"), "layers/error": ("f4", (L,), "1"),
        "plans/id": (16, (C,), None), "plans/name": (64, (C,), None), "plans/origin": (32, (C,), None),
        "plans/mask": ("u1", (C, L), None), "plans/lock": ("u1", (C, L), None),
        "eval/passkey-1/length": ("u4", (N,), "token"), "eval/passkey-1/depth": ("f4", (D,), "1"),
        "eval/passkey-1/plan": ("u4", (E,), None), "eval/passkey-1/weights": (32, (E,), None),
        "eval/passkey-1/trials": ("u2", (E, N, D), "1"), "eval/passkey-1/hits": ("u2", (E, N, D), "1"),
        "eval/passkey-1/score": ("f4", (E, N, D), "1"), "eval/passkey-1/nll": ("f4", (E, N, D), "nat/token"),
        "eval/passkey-1/trial_score": ("f4", (E, N, D, R), "1"),
    }
    found = []
    f.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    scalars = {"config/json", "config/provenance", "model/json", "eval/passkey-1/json"}
    assert set(found) == set(table) | scalars, set(found) ^ (set(table) | scalars)
    for name, (kind, shape, unit) in table.items():
        data = f[name]
        assert data.shape == shape, (name, data.shape)
        assert data.maxshape[0] is None, name
        if isinstance(kind, str):
            assert data.dtype == np.dtype("<" + kind), (name, data.dtype)
        else:
            assert h5py.check_string_dtype(data.dtype).length == kind, (name, data.dtype)
        if unit is not None:
            assert data.attrs["unit"].decode() == unit, (name, data.attrs["unit"])
        assert len(data.attrs["dims"].decode().split(",")) == len(shape), (name, data.attrs["dims"])
        chunk = int(np.prod(data.chunks)) * data.dtype.itemsize
        assert 64 << 10 <= chunk <= 256 << 10, (name, data.chunks)
        assert (data.compression, data.compression_opts, data.shuffle) == (("gzip", 4, True) if expected["closed"] else (None, None, False)), name
    for name in ("trials", "hits"):
        assert f["eval/passkey-1/" + name].fillvalue == 0
    for name in ("score", "nll", "trial_score"):
        assert np.isnan(f["eval/passkey-1/" + name].fillvalue)
    for name, values in expected["values"].items():
        got = f[name][()]
        if got.dtype.kind == "S" or got.dtype.kind == "O":
            assert [x.decode() for x in got] == values, (name, got)
        else:
            want = np.array([np.nan if v is None else v for v in np.array(values, dtype=object).ravel()], dtype=got.dtype)
            np.testing.assert_array_equal(got.ravel(), want, err_msg=name)
    assert f["gates/score"].attrs["method"].decode() == "time_average"
    assert f["gates/score"].attrs["window"] == 0.2


def make(path):
    with h5py.File(path, "w") as f:  # h5py's own choice of format version
        for key, value in (("format", "flashmorph-run"), ("uuid", "11111111-2222-4333-8444-555555555555"), ("parent_uuid", ""),
                           ("kind", "gates"), ("created_utc", "2026-01-02T03:04:05Z"), ("generator", "h5py"), ("state", "finished")):
            f.attrs.create(key, fixed(value))
        f.attrs["format_major"] = 1
        f.attrs["format_minor"] = 3
        f.attrs["revision"] = np.uint64(9)
        f["config/json"] = fixed('{"penalty": 0.1, "note": "Grüße"}')
        f["config/provenance"] = fixed("{}")
        f["model/json"] = fixed('{"layers": 3}')
        f["model/json"].attrs["layers"] = 3
        f["steps/step"] = np.array([1, 5], "<u4")
        f["steps/tokens"] = np.array([10, 50], ">u8")  # the other byte order
        f["steps/time"] = np.array([0.5, 2.5])
        f["steps/lr"] = np.array([0.1, 0.2], "f4")
        f["steps/loss/align"] = np.array([1.5, np.nan], "f4")
        f["gates/alpha"] = np.array([[1, 1, 1], [0.5, 0.25, 1]], "f4")
        f.create_dataset("gates/raw", data=np.array([[1, 1, 1], [0.5, 0.25, 1.5]], ">f4"), chunks=(1, 3), maxshape=(None, 3),
                         compression="gzip", shuffle=True, fletcher32=True)
        f["gates/penalty"] = np.array([0.1, 0.1], "f4")
        f["plans/id"] = np.array(["p1"], dtype="S16")
        f["plans/name"] = np.array(["best"], dtype="S64")
        f["plans/origin"] = np.array(["hand"], dtype="S32")
        f["plans/mask"] = np.array([[0, 1, 1]], "u1")
        f["plans/lock"] = np.array([[2, 0, 1]], "u1")
        g = f.create_group("eval/needle-2")
        g["json"] = fixed('{"name":"needle-2","task":"needle","lengths":[128,256],"depths":[0.5],"trials":2,"seed":3}')
        g["length"] = np.array([128, 256], "u4")
        g["depth"] = np.array([0.5], "f4")
        g["plan"] = np.array([0], "u4")
        g["weights"] = np.array(["aligned"], dtype="S32")
        g["trials"] = np.array([[[2], [0]]], "u2")
        g["hits"] = np.array([[[1], [0]]], "u2")
        g["score"] = np.array([[[0.75], [np.nan]]], "f4")
        g["nll"] = np.array([[[1.25], [np.nan]]], "f4")
        g["trial_score"] = np.array([[[[1, 0.5]], [[np.nan, np.nan]]]], "f4")
        f["from_the_future"] = np.arange(4)


def hostile(path, kind):
    make(path)
    with h5py.File(path, "a") as f:
        if kind == "giant":
            del f["gates/alpha"]
            f.create_dataset("gates/alpha", shape=(2, 1 << 40), dtype="f4", chunks=(1, 1024))
        elif kind == "giant_steps":
            del f["steps/step"]
            f.create_dataset("steps/step", shape=(1 << 40,), dtype="u4", chunks=(1024,))
        elif kind == "giant_chunk":
            del f["steps/lr"]
            f.create_dataset("steps/lr", shape=(2,), maxshape=(None,), dtype="f4", chunks=(1 << 28,))
        elif kind == "many_plans":
            del f["plans/id"]
            f.create_dataset("plans/id", shape=(1 << 30,), dtype="S16", chunks=(1024,))
        elif kind == "external_link":
            del f["steps/lr"]
            f["steps/lr"] = h5py.ExternalLink("/etc/hostname", "/x")
        elif kind == "soft_link":
            del f["steps/lr"]
            f["steps/lr"] = h5py.SoftLink("/steps/loss/align")
        elif kind == "external_values":
            del f["steps/lr"]
            f.create_dataset("steps/lr", shape=(2,), dtype="f4", external=[("/etc/hostname", 0, 8)])
        elif kind == "virtual":
            del f["steps/lr"]
            layout = h5py.VirtualLayout(shape=(2,), dtype="f4")
            layout[:] = h5py.VirtualSource("/etc/hostname", "x", shape=(2,))
            f.create_virtual_dataset("steps/lr", layout)
        elif kind == "variable_text":
            del f["config/json"]
            f["config/json"] = "{}"
        elif kind == "signed":
            del f["steps/step"]
            f["steps/step"] = np.array([1, 5], "<i4")
        elif kind == "compound":
            del f["steps/lr"]
            f["steps/lr"] = np.zeros(2, dtype=[("a", "f4")])
        elif kind == "loop":
            f["gates/again"] = f["gates"]  # ignored: not in the format
            del f["eval/needle-2/json"]
            f["eval/needle-2/json"] = f["eval"]
        elif kind == "hits":
            f["eval/needle-2/hits"][0, 0, 0] = 3
        elif kind == "plan_row":
            f["eval/needle-2/plan"][0] = 7
        else:
            raise SystemExit("unknown kind " + kind)


if sys.argv[1] == "check":
    check(sys.argv[2], json.load(open(sys.argv[3])))
elif sys.argv[1] == "make":
    make(sys.argv[2])
else:
    hostile(sys.argv[2], sys.argv[1])
print("ok")
