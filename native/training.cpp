// Python face of the training family. Matrices come as addresses of contiguous memory, which costs a tenth of what an
// array's description does; lutkan.train.compiled, its only caller, keeps them alive and has checked their sizes.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "lutkan/kernels.h"

namespace nb = nanobind;

namespace {

using Address = std::uintptr_t;

float *floats(Address address) { return reinterpret_cast<float *>(address); }
int32_t *integers(Address address) { return reinterpret_cast<int32_t *>(address); }

class Training {
  public:
    explicit Training(const std::string &isa) : kernels_(lk_find_kernels(isa.empty() ? nullptr : isa.c_str())) {
        if (kernels_ == nullptr) throw std::invalid_argument("no kernels for instruction set '" + isa + "' here");
    }

    void steps(size_t rows, size_t n, size_t stride, Address w, Address raw, Address low, Address high,
               Address y) const {
        const lk_steps at = {floats(raw), floats(low), floats(high), stride};
        nb::gil_scoped_release release;
        kernels_->steps(&at, floats(w), rows, n, floats(y));
    }

    void steps_back(size_t rows, size_t n, size_t stride, Address w, Address grad, Address raw, Address low,
                    Address high, float factor, Address passed, Address felt) const {
        const lk_steps at = {floats(raw), floats(low), floats(high), stride};
        nb::gil_scoped_release release;
        kernels_->steps_back(&at, floats(w), floats(grad), rows, n, factor, floats(passed), floats(felt));
    }

    void bent(size_t rows, size_t n, Address w, Address spread, Address largest, float levels, Address y) const {
        const lk_bent at = {floats(spread), floats(largest), nullptr, levels};
        nb::gil_scoped_release release;
        kernels_->bent(&at, floats(w), rows, n, floats(y));
    }

    void bent_back(size_t rows, size_t n, Address w, Address grad, Address slope, Address passed) const {
        const lk_bent at = {nullptr, nullptr, floats(slope), 0.0f};
        nb::gil_scoped_release release;
        kernels_->bent_back(&at, floats(w), floats(grad), rows, n, floats(passed));
    }

    void interval(size_t rows, size_t n, Address w, Address centre, Address width, Address gamma, float levels,
                  Address y) const {
        const lk_interval at = {floats(centre), floats(width), floats(gamma), levels};
        nb::gil_scoped_release release;
        kernels_->interval(&at, floats(w), rows, n, floats(y));
    }

    void interval_back(size_t rows, size_t n, Address w, Address grad, Address centre, Address width, Address gamma,
                       float levels, Address passed, Address d_centre, Address d_width, Address d_gamma) const {
        const lk_interval at = {floats(centre), floats(width), floats(gamma), levels};
        nb::gil_scoped_release release;
        kernels_->interval_back(&at, floats(w), floats(grad), rows, n, floats(passed), floats(d_centre),
                                floats(d_width), floats(d_gamma));
    }

    void levels(size_t rows, size_t n, size_t stride, Address x, Address low, Address raw, float top, Address y,
                Address codes) const {
        const lk_levels at = {floats(low), floats(raw), stride, top, 0};
        nb::gil_scoped_release release;
        kernels_->levels(&at, floats(x), rows, n, floats(y), integers(codes));
    }

    void levels_back(size_t rows, size_t n, size_t stride, Address x, Address grad, Address low, Address raw, float top,
                     bool rounding, Address passed, Address clipped, Address felt) const {
        const lk_levels at = {floats(low), floats(raw), stride, top, rounding};
        nb::gil_scoped_release release;
        kernels_->levels_back(&at, floats(x), floats(grad), rows, n, floats(passed), floats(clipped), floats(felt));
    }

    void stairs_back(size_t rows, size_t n, size_t stride, Address x, Address grad, Address low, Address raw, float top,
                     float steep, float slope, float soften, float place, Address passed, Address clipped, Address felt,
                     Address soft) const {
        const lk_levels at = {floats(low), floats(raw), stride, top, 1};
        const lk_stairs stairs = {steep, slope, soften, place};
        nb::gil_scoped_release release;
        kernels_->stairs_back(&at, &stairs, floats(x), floats(grad), rows, n, floats(passed), floats(clipped),
                              floats(felt), floats(soft));
    }

    void look_up(size_t table_rows, size_t width, size_t count, Address table, Address codes, Address y) const {
        nb::gil_scoped_release release;
        require_rows(table_rows, integers(codes), count);
        kernels_->look_up(floats(table), integers(codes), count, width, floats(y));
    }

    void look_up_back(size_t table_rows, size_t width, size_t count, Address table, Address codes, Address grad,
                      Address y) const {
        nb::gil_scoped_release release;
        require_rows(table_rows, integers(codes), count);
        kernels_->look_up_back(floats(table), integers(codes), floats(grad), count, width, floats(y));
    }

  private:
    static void require_rows(size_t rows, const int32_t *codes, size_t count) {
        uint32_t highest = 0; // a negative code counts as a very high one
        for (size_t i = 0; i < count; ++i) {
            const uint32_t code = static_cast<uint32_t>(codes[i]);
            highest = code > highest ? code : highest;
        }
        if (count != 0 && highest >= rows) throw std::invalid_argument("a code beyond the table");
    }

    const lk_kernels *kernels_;
};

} // namespace

void bind_training(nb::module_ &m) {
    nb::class_<Training>(m, "Training")
        .def(nb::init<const std::string &>(), nb::arg("isa"))
        .def("steps", &Training::steps)
        .def("steps_back", &Training::steps_back)
        .def("bent", &Training::bent)
        .def("bent_back", &Training::bent_back)
        .def("interval", &Training::interval)
        .def("interval_back", &Training::interval_back)
        .def("levels", &Training::levels)
        .def("levels_back", &Training::levels_back)
        .def("stairs_back", &Training::stairs_back)
        .def("look_up", &Training::look_up)
        .def("look_up_back", &Training::look_up_back);
}
