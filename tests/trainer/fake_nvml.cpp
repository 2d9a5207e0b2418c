// What the trainer asks of NVIDIA's management library, answered without a GPU. The only GPU with a
// sensor is at 00000000:1B:00.0. It draws 100 W and 300 W in turn, is hot in every reading, and has
// two processes. The GPU at 00000000:2C:00.0 has no sensor.

#include <string_view>

namespace {

int gpu = 0;
int gpu_without_sensor = 0;
unsigned int readings = 0;

}  // namespace

extern "C" {

int nvmlInit_v2();
int nvmlDeviceGetHandleByPciBusId_v2(const char* id, void** device);
int nvmlDeviceGetPowerUsage(void* device, unsigned int* milliwatts);
int nvmlDeviceGetCurrentClocksThrottleReasons(void* device, unsigned long long* reasons);
int nvmlDeviceGetComputeRunningProcesses_v3(void* device, unsigned int* count, void* processes);

int nvmlInit_v2() {
  return 0;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char* id, void** device) {
  if (std::string_view(id) == "00000000:1B:00.0") {
    *device = &gpu;
  } else if (std::string_view(id) == "00000000:2C:00.0") {
    *device = &gpu_without_sensor;
  } else {
    return 6;  // not found
  }
  return 0;
}

int nvmlDeviceGetPowerUsage(void* device, unsigned int* milliwatts) {
  if (device != &gpu) {
    return 3;  // not supported
  }
  *milliwatts = readings++ % 2 == 0 ? 100'000 : 300'000;
  return 0;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(void* /*device*/, unsigned long long* reasons) {
  *reasons = 0x20;  // slowed down by heat, seen in software
  return 0;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void* /*device*/,
                                            unsigned int* count,
                                            void* /*processes*/) {
  *count = 2;
  return 7;  // no room for them
}

}  // extern "C"
