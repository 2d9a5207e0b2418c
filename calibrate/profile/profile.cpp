#include "calibrate/profile/profile.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <sstream>

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
