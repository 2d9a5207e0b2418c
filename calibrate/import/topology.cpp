#include "calibrate/import/topology.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "calibrate/import/csv_table.h"
#include "calibrate/import/text_source.h"
#include "models/error.h"

// 	GPU0	GPU1	NIC0	CPU Affinity	NUMA Affinity
// GPU0	 X 	NV12	PXB	0-31	0
// GPU1	NV12	 X 	SYS	0-31	0
//
// NV# is a bond of # NVLinks, whose number tells the generation where a switch joins all GPUs: 6
// (V100), 12 (A100), 18 (H100 and B200). PIX and PXB pass PCIe switches, PHB the host bridge, NODE
// and SYS also what joins CPUs, where GPUs rarely reach each other without a copy in host memory.

namespace vitsim {

namespace {

std::vector<std::string> cells_of(std::string_view line) {
  std::string blanks(line);
  std::ranges::replace(blanks, '\t', ' ');
  std::vector<std::string> words;
  for (std::string& word : split_list(blanks, ' ')) {
    if (!word.empty()) {
      // Terminals underline the heading.
      const std::size_t escape = word.find("\x1b[");
      if (escape != std::string::npos) {
        const std::size_t end = word.find('m', escape);
        word.erase(escape, end == std::string::npos ? std::string::npos : end - escape + 1);
      }
      words.push_back(std::move(word));
    }
  }
  std::erase(words, "");
  return words;
}

bool is_gpu(std::string_view word) {
  return word.size() > 3 && word.starts_with("GPU") &&
         std::ranges::all_of(word.substr(3), [](unsigned char c) { return std::isdigit(c) != 0; });
}

/// From the fastest to the slowest; the number of bonded links after "NV" apart.
int slowness(std::string_view path) {
  static constexpr std::array<std::string_view, 6> kPaths = {
      "NV", "PIX", "PXB", "PHB", "NODE", "SYS"};
  for (std::size_t i = 0; i < kPaths.size(); ++i) {
    if (path.starts_with(kPaths[i])) {
      return static_cast<int>(i);
    }
  }
  return -1;
}

std::string link_of(std::string_view slowest) {
  if (slowest.starts_with("NV")) {
    const auto links = parse_integer(slowest.substr(2)).value_or(0);
    if (links >= 18) {
      return "nvlink4 (H100, H200) or nvlink5 (B200)";
    }
    return links >= 8 ? "nvlink3" : links >= 5 ? "nvlink2" : "nvlink-bridge";
  }
  const bool peers = slowest.starts_with("PIX") || slowest.starts_with("PXB");
  return peers ? "pcie4-x16 (or the slots' generation and lanes)"
               : "pcie4-x16-host (or the slots' generation and lanes; without -host where peers "
                 "reach each other)";
}

}  // namespace

bool marks_topology(std::string_view line) {
  return line.find("GPU0") != std::string_view::npos &&
         line.find("CPU Affinity") != std::string_view::npos;
}

Piece read_topology(std::istream& stream, const std::string& origin, const std::string& name) {
  LineReader reader(stream);
  std::string line;
  std::vector<std::string> columns;
  std::map<std::string, std::int64_t> paths;  // kind to pairs
  std::set<std::string> gpus;
  while (reader.next(line)) {
    const std::vector<std::string> words = cells_of(line);
    if (marks_topology(line)) {
      columns = words;
    } else if (!columns.empty() && !words.empty() && is_gpu(words.front()) && gpus.size() < 1024) {
      gpus.insert(words.front());
      for (std::size_t i = 0; i < columns.size() && i + 1 < words.size(); ++i) {
        if (is_gpu(columns[i]) && columns[i] > words.front() && slowness(words[i + 1]) >= 0) {
          ++paths[words[i + 1]];
        }
      }
    }
  }
  if (paths.empty()) {
    throw UserError(
        fmt::format("{}: a table of nvidia-smi topo -m without a path between two GPUs", origin));
  }
  std::string seen;
  std::string slowest = paths.begin()->first;
  for (const auto& [path, pairs] : paths) {
    seen += fmt::format("{}{} of {} pairs", seen.empty() ? "" : ", ", path, pairs);
    const auto links = [](const std::string& text) {
      return parse_integer(std::string_view(text).substr(2)).value_or(0);
    };
    if (slowness(path) > slowness(slowest) ||
        (slowness(path) == 0 && slowness(slowest) == 0 && links(path) < links(slowest))) {
      slowest = path;
    }
  }
  Piece piece{.origin = origin};
  piece.environment["links of " + name] = fmt::format(
      "{} GPUs, {}: a ring goes at the pace of {}: \"intra_node\": {{\"link\": ...}} {}",
      gpus.size(),
      seen,
      slowest,
      link_of(slowest));
  return piece;
}

}  // namespace vitsim
