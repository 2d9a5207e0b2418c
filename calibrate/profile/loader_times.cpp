#include "calibrate/profile/loader_times.h"

#include <algorithm>
#include <cmath>

namespace vitsim {

Seconds LoaderTimes::per_image(std::int64_t workers) const {
  const auto after = std::ranges::lower_bound(points, workers, {}, &LoaderPoint::workers);
  if (after == points.begin()) {
    // Fewer than measured: each as fast as those.
    return points.front().per_image * static_cast<double>(points.front().workers) /
           static_cast<double>(workers);
  }
  if (after != points.end() && after->workers == workers) {
    return after->per_image;
  }
  const LoaderPoint& before = *std::prev(after);
  if (after == points.end()) {
    const double useful = std::max(cores, static_cast<double>(before.workers));
    return before.per_image * static_cast<double>(before.workers) /
           std::min(useful, static_cast<double>(workers));
  }
  // Images per second, straight between the two.
  const double share = static_cast<double>(workers - before.workers) /
                       static_cast<double>(after->workers - before.workers);
  const double rate = (1 - share) / before.per_image.value() + share / after->per_image.value();
  return Seconds(1 / rate);
}

Seconds LoaderTimes::step_limit(std::int64_t workers, double images, Seconds compute) const {
  const Seconds loading = per_image(workers) * images;
  if (compute_threads <= 0) {
    return loading;
  }
  const Seconds work = per_image(1) * images + compute * compute_threads;
  return std::max(loading, work / cores);
}

std::optional<LoaderTimes> loader_for(const std::vector<LoaderTimes>& measured,
                                      const TrainingSpec& training) {
  const VitSpec& model = training.model;
  const auto pixels = [](const LoaderTimes& times) {
    return static_cast<double>(times.image_size * times.image_size * times.channels);
  };
  const double wanted = static_cast<double>(model.image_size * model.image_size * model.channels);
  std::vector<LoaderTimes> own;
  for (const LoaderTimes& times : measured) {
    if (times.dataset == training.dataset.name) {
      own.push_back(times);
    }
  }
  if (own.empty()) {
    return std::nullopt;
  }
  std::ranges::sort(own, {}, [&](const LoaderTimes& times) {
    return std::abs(std::log(pixels(times) / wanted));
  });
  LoaderTimes result = own.front();
  const double near = pixels(own.front());
  double factor = wanted / near;
  const auto other =
      std::ranges::find_if(own, [&](const LoaderTimes& times) { return pixels(times) != near; });
  if (other != own.end()) {
    // per image = decoding + pixels x transforms, through the two; neither is negative.
    const double a = own.front().per_image(1).value();
    const double b = other->per_image(1).value();
    const double by_pixel = std::clamp((a - b) / (near - pixels(*other)), 0.0, a / near);
    factor = (a + by_pixel * (wanted - near)) / a;
  }
  for (LoaderPoint& point : result.points) {
    point.per_image = point.per_image * factor;
  }
  result.image_size = model.image_size;
  result.channels = model.channels;
  return result;
}

}  // namespace vitsim
