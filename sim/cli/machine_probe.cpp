#include "sim/cli/machine_probe.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <sstream>

#include <fmt/format.h>

#include "calibrate/import/csv_table.h"
#include "calibrate/import/topology.h"
#include "models/error.h"

namespace vitsim {

namespace {

constexpr std::string_view kSection = "== ";

// Lines by section of the probe's output.
std::map<std::string, std::vector<std::string>> sections_of(std::string_view text) {
  std::map<std::string, std::vector<std::string>> sections;
  std::string section;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(kSection)) {
      section = line.substr(kSection.size());
    } else if (!trimmed(line).empty()) {
      sections[section].push_back(line);
    }
  }
  return sections;
}

// "AMD Instinct MI300X" -> "amd-instinct-mi300x": fit for a name in a cluster file.
std::string name_of_device(std::string_view device) {
  std::string name;
  for (const char c : device) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
      name += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    } else if (!name.empty() && name.back() != '-') {
      name += '-';
    }
  }
  while (!name.empty() && name.back() == '-') {
    name.pop_back();
  }
  return name.empty() ? "gpu" : name;
}

void add_gpu(ProbedMachine& machine, std::string_view device, const ProfileLibrary& library) {
  const auto known = sheet_of_device(device, library);
  machine.gpus.push_back({.device = std::string(device),
                          .name = known.value_or(name_of_device(device)),
                          .is_known = known.has_value()});
}

// Tables of rocm-smi: a header, then "card0,AMD Instinct MI300X OAM,...".
void add_amd_gpus(ProbedMachine& machine,
                  const std::vector<std::string>& lines,
                  const ProfileLibrary& library) {
  std::size_t column = 0;
  bool has_header = false;
  for (const std::string& line : lines) {
    const auto fields = split_csv(line);
    if (!fields) {
      continue;
    }
    const auto series = std::ranges::find_if(*fields, [](const std::string& field) {
      return field == "Card Series" || field == "Card series";
    });
    if (series != fields->end()) {
      column = static_cast<std::size_t>(series - fields->begin());
      has_header = true;
    } else if (has_header && column < fields->size() && fields->front().starts_with("card")) {
      add_gpu(machine, (*fields)[column], library);
    }
  }
}

// The first word behind `"intra_node": {"link": ...}`, and all of what was seen.
void add_topology(ProbedMachine& machine,
                  const std::vector<std::string>& lines,
                  const std::string& origin) {
  std::stringstream table;
  for (const std::string& line : lines) {
    table << line << '\n';
  }
  try {
    const Piece piece = read_topology(table, origin, machine.hostname);
    for (const auto& [key, value] : piece.environment) {
      machine.intra_node_why = value;
      const std::string mark = "{\"link\": ...} ";
      const auto at = value.find(mark);
      if (at != std::string::npos) {
        const std::string rest = value.substr(at + mark.size());
        machine.intra_node = rest.substr(0, rest.find(' '));
      }
    }
  } catch (const UserError&) {
    machine.intra_node_why.clear();  // one GPU, or a table in an unknown form
  }
}

// Megabits per second of the data sheets of links.
struct LinkRate {
  std::int64_t megabits;
  std::string_view sheet;
};

constexpr LinkRate kEthernet[] = {{1'000, "1gbe"},
                                  {2'500, "2.5gbe"},
                                  {10'000, "10gbe"},
                                  {25'000, "25gbe"},
                                  {40'000, "40gbe"},
                                  {100'000, "100gbe"}};
constexpr LinkRate kInfiniBand[] = {
    {100'000, "ib-edr"}, {200'000, "ib-hdr"}, {400'000, "ib-ndr"}, {800'000, "ib-xdr"}};
constexpr LinkRate kRoce[] = {{100'000, "roce-100"}, {200'000, "roce-200"}, {400'000, "roce-400"}};

template <std::size_t N>
void set_nic(ProbedMachine& machine, const LinkRate (&sheets)[N], std::int64_t megabits) {
  const auto* const sheet = std::ranges::find(sheets, megabits, &LinkRate::megabits);
  machine.nic_is_sheet = sheet != std::end(sheets);
  machine.nic = machine.nic_is_sheet ? std::string(sheet->sheet) : fmt::format("{}Mbps", megabits);
}

// Lines "InfiniBand 400 Gb/sec (4X NDR)": the link layer, then the rate of one port.
bool add_fabric(ProbedMachine& machine, const std::vector<std::string>& lines) {
  std::map<std::pair<std::int64_t, bool>, std::int64_t> ports;  // by rate and whether Ethernet
  for (const std::string& line : lines) {
    const std::vector<std::string> words = split_list(line, ' ');
    const auto gigabits = words.size() < 2 ? std::nullopt : parse_number(words[1]);
    if (gigabits && *gigabits >= 1) {
      ++ports[{static_cast<std::int64_t>(*gigabits * 1000), words[0] == "Ethernet"}];
    }
  }
  if (ports.empty()) {
    return false;
  }
  const auto& [fastest, count] = *ports.rbegin();
  machine.nics = count;
  fastest.second ? set_nic(machine, kRoce, fastest.first)
                 : set_nic(machine, kInfiniBand, fastest.first);
  return true;
}

// Lines "eth0 10000": a device and its megabits per second.
void add_ethernet(ProbedMachine& machine, const std::vector<std::string>& lines) {
  std::int64_t fastest = 0;
  for (const std::string& line : lines) {
    const std::vector<std::string> words = split_list(line, ' ');
    const auto megabits = words.size() < 2 ? std::nullopt : parse_integer(words[1]);
    fastest = std::max(fastest, megabits.value_or(0));
  }
  if (fastest > 0) {
    set_nic(machine, kEthernet, fastest);
  }
}

}  // namespace

std::string_view probe_script() {
  return R"sh(
export LC_ALL=C
echo '== hostname'; hostname 2>/dev/null || uname -n
echo '== nvidia'; nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null
echo '== topology'; nvidia-smi topo -m 2>/dev/null
echo '== amd'; rocm-smi --showproductname --csv 2>/dev/null
echo '== fabric'
for port in /sys/class/infiniband/*/ports/*; do
  [ -r "$port/rate" ] && echo "$(cat "$port/link_layer" 2>/dev/null) $(cat "$port/rate" 2>/dev/null)"
done
echo '== ethernet'
for device in /sys/class/net/*; do
  [ -e "$device/device" ] && echo "${device##*/} $(cat "$device/speed" 2>/dev/null)"
done
echo '== memory'; grep MemTotal /proc/meminfo 2>/dev/null
echo '== cores'; nproc 2>/dev/null
exit 0
)sh";
}

std::optional<std::string> sheet_of_device(std::string_view device, const ProfileLibrary& library) {
  std::optional<std::string> found;
  std::size_t longest = 0;
  for (const std::string& name : library.gpu_names()) {
    const auto sheet = library.sheet(name);
    if (!sheet || sheet->device_name.empty() || !is_device(device, sheet->device_name)) {
      continue;
    }
    const std::string_view rest = device.substr(sheet->device_name.size());
    const bool same_hardware = rest.empty() || rest.starts_with('-') || rest.starts_with(" (");
    if (same_hardware && sheet->device_name.size() > longest) {
      longest = sheet->device_name.size();
      found = name;
    }
  }
  return found;
}

ProbedMachine read_probe(std::string_view text,
                         const std::string& origin,
                         const ProfileLibrary& library) {
  auto sections = sections_of(text);
  ProbedMachine machine;
  const std::vector<std::string>& names = sections["hostname"];
  machine.hostname = names.empty() ? origin : std::string(trimmed(names.front()));
  machine.hostname = machine.hostname.substr(0, machine.hostname.find('.'));
  for (const std::string& line : sections["nvidia"]) {
    add_gpu(machine, trimmed(line), library);
  }
  add_amd_gpus(machine, sections["amd"], library);
  if (machine.gpus.size() > 1) {
    add_topology(machine, sections["topology"], origin);
  }
  if (!add_fabric(machine, sections["fabric"])) {
    add_ethernet(machine, sections["ethernet"]);
  }
  for (const std::string& line : sections["memory"]) {
    for (const std::string& word : split_list(line, ' ')) {
      if (const auto kib = parse_integer(word)) {
        machine.memory_bytes = *kib * 1024;
      }
    }
  }
  for (const std::string& line : sections["cores"]) {
    machine.cores = parse_integer(trimmed(line)).value_or(0);
  }
  return machine;
}

}  // namespace vitsim
