// Python face of the native runtime: parse packed operations once, then one call a batch.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "lutkan/network.h"

namespace nb = nanobind;

void bind_training(nb::module_ &m);

namespace {

// Working memory of the calling thread: grown, never shrunk, so that small calls do not allocate. Not filled: rows that
// a call does not use cost no pages.
void *working_memory(size_t bytes) {
    thread_local std::unique_ptr<char[]> memory;
    thread_local size_t size = 0;
    if (size < bytes + 64) {
        size = 0;
        memory.reset();
        memory.reset(new char[bytes + 64]);
        size = bytes + 64;
    }
    auto address = reinterpret_cast<std::uintptr_t>(memory.get());
    return reinterpret_cast<void *>((address + 63) & ~static_cast<std::uintptr_t>(63));
}

class Network {
  public:
    Network(uint32_t n_in, uint32_t n_out, const nb::list &ops, const std::string &isa) : keep_(ops) {
        kernels_ = lk_find_kernels(isa.empty() ? nullptr : isa.c_str());
        if (kernels_ == nullptr) throw std::invalid_argument("no kernels for instruction set '" + isa + "' here");
        network_ = {n_in, n_out, parse_ops(ops), static_cast<uint32_t>(nb::len(ops))};
        bytes_ = lk_workspace_size(&network_);
    }

    // x: float32 [rows, n_in]; y: float32 [rows, n_out]; returns the first row of x with NaN, or -1.
    int64_t run(nb::ndarray<const float, nb::c_contig, nb::device::cpu> x,
                nb::ndarray<float, nb::c_contig, nb::device::cpu> y) const {
        const size_t rows = network_.n_in == 0 ? 0 : x.size() / network_.n_in;
        if (x.size() != rows * network_.n_in || y.size() != rows * network_.n_out)
            throw std::invalid_argument("x or y does not fit the network");
        const float *from = x.data();
        float *to = y.data();
        void *memory = working_memory(bytes_);
        nb::gil_scoped_release release;
        return lk_run(&network_, kernels_, from, rows, to, memory);
    }

    std::string isa() const { return kernels_->name; }
    size_t workspace() const { return bytes_; }

  private:
    template <typename T> const T *array(const nb::dict &d, const char *key) {
        nb::object value = d[key];
        if (value.is_none()) return nullptr;
        // No conversion: a copy made here would be gone before it is used.
        return nb::cast<nb::ndarray<const T, nb::c_contig, nb::device::cpu>>(value, false).data();
    }
    const void *bytes(const nb::dict &d, const char *key) {
        nb::object value = d[key];
        if (value.is_none()) return nullptr;
        return nb::cast<nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>>(value, false).data();
    }
    static int64_t integer(const nb::dict &d, const char *key) { return nb::cast<int64_t>(d[key]); }
    static uint32_t count(const nb::dict &d, const char *key) { return nb::cast<uint32_t>(d[key]); }
    static float number(const nb::dict &d, const char *key) { return nb::cast<float>(d[key]); }

    const lk_op *parse_ops(const nb::list &list) {
        std::vector<lk_op> ops;
        for (nb::handle item : list) ops.push_back(parse_op(nb::cast<nb::dict>(item)));
        ops_.push_back(std::move(ops));
        return ops_.back().data();
    }

    lk_op parse_op(const nb::dict &d) {
        lk_op op;
        std::memset(&op, 0, sizeof op);
        op.kind = static_cast<int32_t>(integer(d, "kind"));
        op.n_in = count(d, "n_in");
        op.n_out = count(d, "n_out");
        op.a = array<float>(d, "a");
        op.b = array<float>(d, "b");
        op.indices = array<int32_t>(d, "indices");
        op.offsets = array<int32_t>(d, "offsets");
        op.eps = number(d, "eps");
        op.function = static_cast<int32_t>(integer(d, "function"));
        op.live_in = count(d, "live_in");
        op.live_out = count(d, "live_out");
        op.multipliers = array<int32_t>(d, "multipliers");
        op.totals = array<int64_t>(d, "totals");
        op.code_shift = count(d, "code_shift");
        op.top_code = count(d, "top_code");
        nb::list list = nb::cast<nb::list>(d["branches"]);
        std::vector<lk_branch> branches;
        for (nb::handle item : list) {
            nb::dict b = nb::cast<nb::dict>(item);
            nb::list pre = nb::cast<nb::list>(b["pre"]);
            lk_branch branch;
            std::memset(&branch, 0, sizeof branch);
            branch.n_pre = static_cast<uint32_t>(nb::len(pre));
            branch.pre = parse_ops(pre);
            branch.table = parse_table(nb::cast<nb::dict>(b["table"]));
            branches.push_back(branch);
        }
        op.n_branches = static_cast<uint32_t>(branches.size());
        branches_.push_back(std::move(branches));
        op.branches = branches_.back().data();
        return op;
    }

    lk_table parse_table(const nb::dict &d) {
        lk_table t;
        std::memset(&t, 0, sizeof t);
        t.kind = static_cast<int32_t>(integer(d, "kind"));
        t.inputs = count(d, "inputs");
        t.pad = count(d, "pad");
        t.scale = array<float>(d, "scale");
        t.segments = count(d, "segments");
        t.nearest = static_cast<int32_t>(integer(d, "nearest"));
        t.outside = static_cast<int32_t>(integer(d, "outside"));
        t.is_unsigned = static_cast<int32_t>(integer(d, "is_unsigned"));
        t.uniform = static_cast<int32_t>(integer(d, "uniform"));
        t.knots = array<float>(d, "knots");
        t.at_segments.knots = t.knots;
        t.at_segments.inverse = array<float>(d, "inverse");
        t.at_segments.segments = t.segments;
        t.at_segments.samples = count(d, "samples");
        t.at_segments.closed = static_cast<int>(integer(d, "closed"));
        t.at_segments.line = t.outside == LK_LINE;
        t.at_segments.shared = static_cast<int>(integer(d, "shared"));
        t.q = bytes(d, "q");
        t.offset = array<float>(d, "offset");
        t.function = static_cast<int32_t>(integer(d, "function"));
        t.base_weight = array<float>(d, "base_weight");
        t.base_scale = array<float>(d, "base_scale");
        t.wide = static_cast<int32_t>(integer(d, "wide"));
        t.units = count(d, "units");
        t.groups = count(d, "groups");
        t.flush = count(d, "flush");
        t.block = count(d, "block");
        t.packed = bytes(d, "packed");
        t.at.low = array<float>(d, "low");
        t.at.inverse = array<float>(d, "inverse");
        t.at.base = array<uint32_t>(d, "base");
        t.at.count = count(d, "positions");
        t.at.bits = count(d, "position_bits");
        t.at.block = t.block;
        t.at.words = t.groups * (t.wide ? 2 : 1);
        t.at.weights = array<uint32_t>(d, "weights");
        t.at.first = array<uint32_t>(d, "first");
        t.at.stride = count(d, "stride");
        t.dense = kernels_->dense8 == nullptr ? nullptr : array<int8_t>(d, "dense");
        t.dense_tiles = count(d, "dense_tiles");
        t.dense_stride = count(d, "dense_stride");
        t.bytes = array<uint64_t>(d, "bytes");
        t.depth = count(d, "depth");
        t.shift = count(d, "shift");
        t.dense_at = t.at;
        t.dense_at.base = array<uint32_t>(d, "no_base");
        t.dense_at.block = 1;
        t.dense_at.first = nullptr;
        t.dense_at.words = t.kind == LK_TABLE_CODE_ROWS ? t.depth / 4 : t.at.words;
        t.dense_at.weights = t.kind == LK_TABLE_CODE_ROWS ? array<uint32_t>(d, "dense_weights") : t.at.weights;
        t.degree = count(d, "degree");
        t.linear = static_cast<int32_t>(integer(d, "linear"));
        t.factor = number(d, "factor");
        t.ends = array<float>(d, "ends");
        t.fit_rows = count(d, "fit_rows");
        t.fit = array<float>(d, "fit");
        t.fold_low = array<float>(d, "fold_low");
        t.fold_high = array<float>(d, "fold_high");
        t.step_inverse = number(d, "step_inverse");
        t.half = number(d, "half");
        t.zero = static_cast<int32_t>(integer(d, "zero"));
        t.levels = static_cast<int32_t>(integer(d, "levels"));
        t.start = array<int64_t>(d, "start");
        return t;
    }

    nb::list keep_; // the arrays that the operations point into
    std::deque<std::vector<lk_op>> ops_;
    std::deque<std::vector<lk_branch>> branches_;
    lk_network network_{};
    const lk_kernels *kernels_ = nullptr;
    size_t bytes_ = 0;
};

std::vector<std::string> available() {
    const char *names[8];
    const size_t count = lk_available_kernels(names, 8);
    return {names, names + count};
}

} // namespace

NB_MODULE(_native, m) {
    m.doc() = "Native kernels of lutkan; use lutkan.load(..., runtime='native').";
    m.def("available", &available, "Names of the instruction sets that run here, best first.");
    nb::class_<Network>(m, "Network")
        .def(nb::init<uint32_t, uint32_t, const nb::list &, const std::string &>(), nb::arg("n_in"), nb::arg("n_out"),
             nb::arg("ops"), nb::arg("isa"))
        .def("run", &Network::run, nb::arg("x").noconvert(), nb::arg("y").noconvert())
        .def_prop_ro("isa", &Network::isa)
        .def_prop_ro("workspace", &Network::workspace);
    bind_training(m);
}
