#include "calibrate/measurement.h"

namespace vitsim {

const RecordedRun* Measurement::find_run(std::string_view name) const {
  for (const RecordedRun& run : runs) {
    if (run.name == name) {
      return &run;
    }
  }
  return nullptr;
}

}  // namespace vitsim
