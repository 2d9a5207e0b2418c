#pragma once

#include <string>

#include "models/experiment/training.h"
#include "trainer/measure/bench.h"

namespace vitsim {

/// AllReduce by the trainer's own collectives, from 4 KB to 512 MB as far as time allows, sizes in
/// rising order: "all_reduce" samples, each the slowest rank's. Collective.
void measure_all_reduce(Bench& bench, const std::string& link, double until_s);

/// Half of a message's way there and back between every two ranks, small and large messages:
/// "point_to_point" samples. A slow NIC shows in all pairs of its rank. Collective.
void measure_point_to_point(Bench& bench, const std::string& link, double until_s);

/// Backward by itself and with AllReduces running beside: "overlap" samples, `state` "alone" and
/// "beside". Collective.
void measure_overlap(Bench& bench, const TrainingSpec& training, double until_s);

}  // namespace vitsim
