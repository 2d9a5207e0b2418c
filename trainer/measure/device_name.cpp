#include "trainer/measure/device_name.h"

#include <array>
#include <cctype>

#include "calibrate/profile/library.h"

namespace vitsim {

namespace {

// Small letters and digits, everything else one hyphen.
std::string as_name(std::string_view text) {
  std::string name;
  for (const char letter : text) {
    const auto byte = static_cast<unsigned char>(letter);
    if (std::isalnum(byte) != 0) {
      name.push_back(static_cast<char>(std::tolower(byte)));
    } else if (!name.empty() && name.back() != '-') {
      name.push_back('-');
    }
  }
  while (!name.empty() && name.back() == '-') {
    name.pop_back();
  }
  return name;
}

}  // namespace

std::string normalised_gpu_name(std::string_view driver_name) {
  const ProfileLibrary library;
  for (const std::string& name : library.gpu_names()) {
    const auto sheet = library.sheet(name);
    if (sheet && sheet->device_name == driver_name) {
      return name;
    }
  }
  for (const std::string_view maker : {"NVIDIA ", "GeForce ", "Quadro "}) {
    if (driver_name.starts_with(maker)) {
      driver_name.remove_prefix(maker.size());
    }
  }
  return as_name(driver_name);
}

std::string default_cpu_name(std::string_view host) {
  return "cpu-" + as_name(host);
}

}  // namespace vitsim
