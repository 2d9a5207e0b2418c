#include "calibrate/profile/profile.h"

#include <algorithm>
#include <cmath>

namespace vitsim {

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

}  // namespace vitsim
