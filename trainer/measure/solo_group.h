#pragma once

#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>

namespace vitsim {

/// A process group of this rank alone: sums are there already. It lets a rank of many measure the
/// step it would make by itself.
c10::intrusive_ptr<c10d::ProcessGroup> make_solo_group(c10::Device device);

}  // namespace vitsim
