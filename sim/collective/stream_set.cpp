#include "sim/collective/stream_set.h"

namespace vitsim {

namespace {

// 24 bits for a position: sixteen million ranks; 16 bits of channel.
std::uint64_t key_of(std::uint32_t channel, std::uint32_t from, std::uint32_t to) {
  return static_cast<std::uint64_t>(channel) << 48U | static_cast<std::uint64_t>(from) << 24U | to;
}

}  // namespace

StreamId StreamSet::between(std::uint32_t channel, std::uint32_t from, std::uint32_t to) {
  const auto [found, fresh] = streams_.try_emplace(key_of(channel, from, to), 0);
  if (fresh) {
    path_.clear();
    network_.append_route(ranks_[from], ranks_[to], path_);
    found->second = engine_.add_stream(path_);
  }
  return found->second;
}

StreamId StreamSet::on_rail(std::uint32_t rail,
                            std::uint32_t lane,
                            std::uint32_t from,
                            std::uint32_t to) {
  const auto [found, fresh] = rail_streams_.try_emplace(key_of(lane << 10U | rail, from, to), 0);
  if (fresh) {
    path_.clear();
    network_.append_route(ranks_[from], ranks_[to], rail, path_);
    found->second = engine_.add_stream(path_);
  }
  return found->second;
}

StreamId StreamSet::along(LinkId link) {
  const auto [found, fresh] = link_streams_.try_emplace(link, 0);
  if (fresh) {
    found->second = engine_.add_stream(std::span(&link, 1));
  }
  return found->second;
}

}  // namespace vitsim
