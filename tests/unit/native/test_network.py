"""native/network.c in a process of its own: under sanitizers, and for AArch64 under qemu.

The binding reads packed operations in Python's hands. Here its statements, taken from binding.cpp, become a C program
that holds a few networks; what it prints are the reference runtime's bits.
"""

import re
import subprocess

import numpy as np
import pytest

from conformance.cases import same_bits
from conformance.random_programs import TABLES, draw, rows_for
from lutkan.runtimes import reference
from lutkan.runtimes.packing import pack_program, packed_bytes
from native import MACHINES, ROOT, build_program, command

SEEDS = [seed for seed in range(90) if packed_bytes(pack_program(draw(seed))) < 400_000]
ROWS = 70  # a whole pass, and one that is not full
HEAD = """
#pragma GCC optimize("O0")
#include "lutkan/network.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *blob;
static const lk_kernels *kernels_;

static int run(const lk_network *network, const float *x, size_t rows) {
    const size_t size = rows * network->n_out * sizeof(float);
    float *y = malloc(size);
    char *memory = aligned_alloc(64, lk_workspace_size(network)); /* a multiple of 64 */
    if (y == NULL || memory == NULL) return 1;
    lk_run(network, kernels_, x, rows, y, memory);
    const int failed = fwrite(y, 1, size, stdout) != size;
    free(y);
    free(memory);
    return failed;
}

"""
MAIN = """
int main(int count, char **words) {
    FILE *file = count == 3 ? fopen(words[2], "rb") : NULL;
    if (file == NULL || (blob = aligned_alloc(64, SIZE)) == NULL || fread(blob, 1, SIZE, file) != SIZE) return 2;
    fclose(file);
    kernels_ = lk_find_kernels(words[1]);
    int failed = kernels_ == NULL ? 3 : networks();
    free(blob);
    return failed;
}
"""


def binding(name):
    """The statements of a function of the binding that fill a struct, in the order they stand in."""
    text = (ROOT / "native" / "binding.cpp").read_text(encoding="utf-8")
    body = text[text.index(f" {name}(const nb::dict &d) {{") :]
    body = body[: body.index("\n    }\n")]
    return re.findall(r"^        ((?:op|t)\.[\w.]+ = .*;)$", body, re.MULTILINE)


class Writer:
    """C statements that build networks, and the arrays that they point to."""

    def __init__(self):
        self.lines, self.blob, self.count = [], bytearray(), 0

    def place(self, array):
        self.blob += bytes(-len(self.blob) % 64)
        start = len(self.blob)
        self.blob += np.ascontiguousarray(array).tobytes()
        return start

    def statement(self, text, d):
        def pointer(kind, value):
            return "NULL" if value is None else f"(const {kind} *)(blob + {self.place(value)})"

        text = re.sub(r'array<(\w+)>\(d, "(\w+)"\)', lambda m: pointer(m[1], d[m[2]]), text)
        text = re.sub(r'bytes\(d, "(\w+)"\)', lambda m: pointer("void", d[m[1]]), text)
        text = re.sub(r'(?:count|integer)\(d, "(\w+)"\)', lambda m: f"{int(d[m[1]])}", text)
        text = re.sub(r'number\(d, "(\w+)"\)', lambda m: float(np.float32(d[m[1]])).hex() + "f", text)
        text = re.sub(r"static_cast<(\w+)>\(", r"(\1)(", text).replace("nullptr", "NULL")
        assert "(d," not in text and "nb::" not in text, text
        return text

    def ops(self, ops):
        """Fill an array of operations; returns its name."""
        self.count += 1
        name = f"ops_{self.count}"
        self.lines.append(f"static lk_op {name}[{max(len(ops), 1)}];")
        for k, d in enumerate(ops):
            branches = self.branches(d["branches"])
            self.lines += [
                self.statement(s, d).replace("op.", f"{name}[{k}].", 1) for s in binding("parse_op") if "d," in s
            ]
            self.lines.append(f"{name}[{k}].branches = {branches}; {name}[{k}].n_branches = {len(d['branches'])};")
        return name

    def branches(self, branches):
        self.count += 1
        name = f"branches_{self.count}"
        self.lines.append(f"static lk_branch {name}[{max(len(branches), 1)}];")
        for k, branch in enumerate(branches):
            pre = self.ops(branch["pre"])
            self.lines.append(f"{name}[{k}].pre = {pre}; {name}[{k}].n_pre = {len(branch['pre'])};")
            fill = [
                re.sub(r"\bt\.", f"{name}[{k}].table.", self.statement(s, branch["table"]))
                for s in binding("parse_table")
            ]
            self.lines += fill
        return name

    def source(self):
        self.blob += bytes(-len(self.blob) % 64)
        size = f"#define SIZE ((size_t){len(self.blob)})\n"
        return "\n".join([size, HEAD, "static int networks(void) {", *self.lines, "return 0;", "}", MAIN])


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """The C file and the arrays of some networks, and the bits they have to answer."""
    folder = tmp_path_factory.mktemp("networks")
    writer, expected = Writer(), []
    for seed in SEEDS:
        program = draw(seed)
        x = rows_for(program, seed, ROWS)
        ops = writer.ops(pack_program(program))
        rows, sizes = writer.place(x), f"{program.in_features}, {program.out_features}"
        writer.lines += [
            f"const lk_network n_{seed} = {{{sizes}, {ops}, {len(program.steps)}}};",
            f"if (run(&n_{seed}, (const float *)(blob + {rows}), {ROWS})) return 1;",
        ]
        expected.append(reference.run(program, x))
    source, blob = folder / "networks.c", folder / "blob"
    source.write_text(writer.source())
    blob.write_bytes(writer.blob)
    return source, blob, np.concatenate([y.ravel() for y in expected])


def test_the_binding_is_read_whole():
    table, op = binding("parse_table"), binding("parse_op")
    assert len(table) > 40 and 't.packed = bytes(d, "packed");' in table and "t.dense_at = t.at;" in table
    assert len(op) > 10 and 'op.eps = number(d, "eps");' in op
    assert len(SEEDS) > 60 and {seed % len(TABLES) for seed in SEEDS} == set(range(len(TABLES)))


@pytest.mark.parametrize(("build", "isa"), MACHINES, ids=["-".join(machine) for machine in MACHINES])
def test_networks(build, isa, networks, kernel_folder):
    source, blob, expected = networks
    program = build_program(build, kernel_folder, "networks", [source, ROOT / "native" / "network.c"])
    done = subprocess.run([*command(build, program), isa, str(blob)], capture_output=True)
    if done.returncode == 3:
        pytest.skip(f"this processor has no {isa}")
    assert done.returncode == 0, done.stderr.decode()
    found = np.frombuffer(done.stdout, np.float32)
    assert found.shape == expected.shape
    wrong = np.flatnonzero(~same_bits(found, expected))
    assert not wrong.size, f"{wrong.size} of {found.size} differ, first at {wrong[0]}"
