#pragma once

#include <string>
#include <string_view>

namespace vitsim {

/// A driver's name of a GPU as profiles and data sheets spell it: that of the data sheet of this
/// device, else "NVIDIA GeForce RTX 3070 Ti" as "rtx-3070-ti".
std::string normalised_gpu_name(std::string_view driver_name);

/// What a CPU is called where nobody names it: "cpu-" and the host's name.
std::string default_cpu_name(std::string_view host);

}  // namespace vitsim
