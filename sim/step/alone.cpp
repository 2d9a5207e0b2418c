#include "sim/step/writer.h"

namespace vitsim {

StepProgram alone_program(const StepInput& input) {
  return write_program(input, [&](ProgramWriter& writer, Seconds backward, const ClassWork&) {
    writer.compute(Phase::kBackward, {.seconds = backward});
    writer.update(1, {});
    writer.other();
  });
}

}  // namespace vitsim
