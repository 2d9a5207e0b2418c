#include <cstddef>
#include <cstdint>
#include <sstream>
#include <string>

#include "calibrate/import/rank_csv.h"
#include "calibrate/import/study_csv.h"
#include "models/error.h"

namespace {

template <typename Read>
void try_to(const std::string& text, Read read) {
  std::istringstream stream(text);
  try {
    read(stream);
  } catch (const vitsim::UserError&) {
  }
}

}  // namespace

// Every table's reader takes any bytes for its table or for a user's mistake.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  try_to(text, [](std::istream& stream) { vitsim::read_run_table(stream, "table"); });
  try_to(text, [](std::istream& stream) { vitsim::read_step_table(stream, "table", "run"); });
  try_to(text, [](std::istream& stream) { vitsim::read_epoch_table(stream, "table", "run"); });
  try_to(text, [](std::istream& stream) { vitsim::read_throughput_table(stream, "table"); });
  try_to(text, [](std::istream& stream) {
    vitsim::Piece piece = vitsim::read_rank_clock(stream, "table", "run", 0);
    vitsim::group_micro_steps(piece, 2);
  });
  try_to(text, [](std::istream& stream) {
    vitsim::read_all_reduce_table(stream, "table", "ar_2x", 0, 2);
  });
  return 0;
}
