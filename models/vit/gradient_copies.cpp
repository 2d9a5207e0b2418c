#include "models/vit/gradient_copies.h"

namespace vitsim {

bool flattens_gradients(const TrainingSpec& training) {
  return training.gradient_sync != GradientSync::kDdp;
}

}  // namespace vitsim
