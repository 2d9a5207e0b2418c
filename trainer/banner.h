#pragma once

#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace vitsim {

/// Every parameter of `resolved`, one line each ("training.micro_batch_per_gpu  16"), lists of
/// equal things as one; then `facts` of this run and machine.
std::string banner(const nlohmann::json& resolved,
                   const std::vector<std::pair<std::string, std::string>>& facts);

}  // namespace vitsim
