#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/profile/library.h"

namespace vitsim {

/// A shell script that prints what can be learnt of a machine without privileges: GPUs by
/// nvidia-smi or rocm-smi, their links by `nvidia-smi topo -m`, NICs, memory and cores. It never
/// fails: what is not there stays empty.
std::string_view probe_script();

/// One GPU as the cluster file names it.
struct ProbedGpu {
  std::string device;  // as the driver calls it
  std::string name;    // of a profile or data sheet; else made of the device's name
  bool is_known = false;
};

/// What the probe found on a machine.
struct ProbedMachine {
  std::string hostname;
  std::vector<ProbedGpu> gpus;
  std::string intra_node;      // data sheet of the slowest link between two GPUs; may be empty
  std::string intra_node_why;  // the lines of the topology behind it
  std::string nic;             // data sheet, or a bandwidth such as "50Gbps"; empty: not known
  bool nic_is_sheet = false;
  std::int64_t nics = 1;
  std::int64_t memory_bytes = 0;
  std::int64_t cores = 0;
};

/// Reads what the script printed; `origin` names the machine in messages.
ProbedMachine read_probe(std::string_view text,
                         const std::string& origin,
                         const ProfileLibrary& library);

/// The data sheet of a GPU that calls itself `device`, if there is one: by the whole name, or by a
/// name that the driver extends by a form factor ("NVIDIA A100-SXM4-80GB" is not an "NVIDIA A10").
std::optional<std::string> sheet_of_device(std::string_view device, const ProfileLibrary& library);

}  // namespace vitsim
