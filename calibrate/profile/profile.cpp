#include "calibrate/profile/profile.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <sstream>

#include <fmt/format.h>

namespace vitsim {

Seconds CollectiveTimes::at(Bytes bytes) const {
  const auto above = std::ranges::lower_bound(points, bytes, {}, &CollectivePoint::bytes);
  if (above == points.begin()) {
    return points.front().time;
  }
  const CollectivePoint& a = *std::prev(above);
  if (above == points.end()) {
    if (points.size() < 2) {
      return a.time * (bytes / a.bytes);
    }
    const CollectivePoint& before = *std::prev(above, 2);
    // A table that has not left its latency says nothing of bandwidth: no more than proportional.
    const double rise_s = (a.time - before.time).value();
    const double seconds_per_byte = std::clamp(
        rise_s / (a.bytes - before.bytes).value(), 0.0, a.time.value() / a.bytes.value());
    return a.time + Seconds((bytes - a.bytes).value() * seconds_per_byte);
  }
  const CollectivePoint& b = *above;
  const double share = std::log(bytes / a.bytes) / std::log(b.bytes / a.bytes);
  return a.time * std::pow(b.time / a.time, share);
}

const CollectiveTimes* LinkProfile::table(std::string_view kind, std::int64_t ranks) const {
  const CollectiveTimes* nearest = nullptr;
  double least = 0;
  for (const CollectiveTimes& times : collectives) {
    const double distance =
        std::abs(std::log(static_cast<double>(times.ranks) / static_cast<double>(ranks)));
    if (times.kind == kind && (nearest == nullptr || distance < least)) {
      nearest = &times;
      least = distance;
    }
  }
  return nearest;
}

LinkPoint LinkProfile::at(Bytes message) const {
  if (curve.empty()) {
    return {.message = message, .latency = latency, .bandwidth = bandwidth};
  }
  const auto above = std::ranges::upper_bound(curve, message, {}, &LinkPoint::message);
  if (above == curve.begin() || above == curve.end()) {
    const LinkPoint& nearest = above == curve.begin() ? curve.front() : curve.back();
    return {.message = message, .latency = nearest.latency, .bandwidth = nearest.bandwidth};
  }
  const LinkPoint& a = *std::prev(above);
  const LinkPoint& b = *above;
  const double share = std::log(message / a.message) / std::log(b.message / a.message);
  return {.message = message,
          .latency = a.latency + share * (b.latency - a.latency),
          .bandwidth = a.bandwidth + share * (b.bandwidth - a.bandwidth)};
}

std::string usual_path(const GpuSheet& sheet) {
  if (!sheet.intra_node.empty()) {
    return sheet.intra_node;
  }
  return sheet.pcie ? fmt::format("pcie{}-x{}", sheet.pcie->generation, sheet.pcie->lanes) : "";
}

bool GpuSheet::has_stacked_memory() const {
  static constexpr std::array<std::string_view, 14> kStacked = {"P100",
                                                                "V100",
                                                                "A100",
                                                                "A800",
                                                                "A30",
                                                                "H100",
                                                                "H200",
                                                                "H800",
                                                                "H20",
                                                                "GH200",
                                                                "B200",
                                                                "B300",
                                                                "GB200",
                                                                "Instinct"};
  std::string words = device_name;
  std::ranges::replace(words, '-', ' ');
  std::istringstream stream(words);
  return std::any_of(std::istream_iterator<std::string>(stream), {}, [](const std::string& word) {
    return std::ranges::count(kStacked, word) > 0;
  });
}

}  // namespace vitsim
