#include "calibrate/profile/profile.h"

#include <algorithm>
#include <cmath>

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

}  // namespace vitsim
