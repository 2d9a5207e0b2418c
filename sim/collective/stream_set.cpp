#include "sim/collective/stream_set.h"

namespace vitsim {

StreamId StreamSet::between(std::uint32_t channel, std::uint32_t from, std::uint32_t to) {
  // 24 bits for a position: sixteen million ranks; 16 bits of channel.
  const std::uint64_t key =
      static_cast<std::uint64_t>(channel) << 48U | static_cast<std::uint64_t>(from) << 24U | to;
  const auto [found, fresh] = streams_.try_emplace(key, 0);
  if (fresh) {
    path_.clear();
    network_.append_route(ranks_[from], ranks_[to], path_);
    found->second = engine_.add_stream(path_);
  }
  return found->second;
}

}  // namespace vitsim
