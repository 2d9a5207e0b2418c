#include "trainer/tensor_file.h"

#include <fstream>
#include <optional>
#include <utility>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "models/document/atomic_file.h"
#include "models/error.h"

namespace vitsim {

namespace {

constexpr std::uint64_t kLongestHeader = 100'000'000;  // as the reference implementation

constexpr std::array<std::pair<std::string_view, at::ScalarType>, 6> kTypes = {
    {{"F32", at::kFloat},
     {"F64", at::kDouble},
     {"F16", at::kHalf},
     {"BF16", at::kBFloat16},
     {"I64", at::kLong},
     {"U8", at::kByte}}};

std::string_view type_name(at::ScalarType type) {
  for (const auto& [name, candidate] : kTypes) {
    if (candidate == type) {
      return name;
    }
  }
  throw InternalError(fmt::format("tensors of type {} are not written", at::toString(type)));
}

std::optional<at::ScalarType> type_from_name(std::string_view text) {
  for (const auto& [name, type] : kTypes) {
    if (name == text) {
      return type;
    }
  }
  return std::nullopt;
}

std::string_view bytes_of(const at::Tensor& tensor) {
  return {static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()};
}

}  // namespace

void write_tensors(const std::filesystem::path& file, const std::vector<NamedTensor>& tensors) {
  nlohmann::ordered_json header;
  std::size_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    header[name] = {{"dtype", type_name(tensor.scalar_type())},
                    {"shape", tensor.sizes().vec()},
                    {"data_offsets", {offset, offset + tensor.nbytes()}}};
    offset += tensor.nbytes();
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // data starts at a multiple of eight
  const std::uint64_t length = text.size();

  AtomicFile output(file);
  output.write({reinterpret_cast<const char*>(&length), sizeof(length)});
  output.write(text);
  for (const auto& [name, tensor] : tensors) {
    output.write(bytes_of(tensor.detach().cpu().contiguous()));
  }
  output.commit();
}

TensorFile::TensorFile(std::filesystem::path file) : path_(std::move(file)) {
  const auto broken = [&](std::string_view why) {
    return UserError(fmt::format("{}: {}", path_.string(), why));
  };
  std::ifstream input(path_, std::ios::binary);
  if (!input) {
    throw broken("cannot be read");
  }
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(path_, error);
  std::uint64_t length = 0;
  if (error || !input.read(reinterpret_cast<char*>(&length), sizeof(length)) ||
      length > kLongestHeader || length + sizeof(length) > size) {
    throw broken("is cut or not a tensor file");
  }
  std::string text(length, '\0');
  input.read(text.data(), static_cast<std::streamsize>(length));
  const auto data = static_cast<std::int64_t>(sizeof(length) + length);
  try {
    const auto header = nlohmann::json::parse(text);
    for (const auto& [name, value] : header.items()) {
      if (name == "__metadata__") {
        continue;
      }
      const auto type = type_from_name(value.at("dtype").get<std::string>());
      if (!type) {
        throw broken(fmt::format("tensor {} has an unknown type", name));
      }
      Entry entry{.type = *type, .shape = value.at("shape").get<std::vector<std::int64_t>>()};
      const auto begin = value.at("data_offsets").at(0).get<std::int64_t>();
      entry.begin = data + begin;
      entry.bytes = value.at("data_offsets").at(1).get<std::int64_t>() - begin;
      std::int64_t expected = static_cast<std::int64_t>(c10::elementSize(*type));
      for (const std::int64_t extent : entry.shape) {
        if (extent < 0 || (extent > 0 && expected > static_cast<std::int64_t>(size) / extent)) {
          throw broken(fmt::format("tensor {} has an impossible shape", name));
        }
        expected *= extent;
      }
      if (begin < 0 || entry.bytes != expected ||
          entry.begin + entry.bytes > static_cast<std::int64_t>(size)) {
        throw broken("is cut: it ends before its last tensor");
      }
      entries_.emplace(name, std::move(entry));
    }
  } catch (const nlohmann::json::exception&) {
    throw broken("is damaged: its header cannot be read");
  }
}

std::vector<std::string> TensorFile::names() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : entries_) {
    names.push_back(name);
  }
  return names;
}

at::Tensor TensorFile::read(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    throw UserError(fmt::format("{}: has no tensor \"{}\"", path_.string(), name));
  }
  const Entry& entry = found->second;
  at::Tensor tensor = at::empty(entry.shape, entry.type);
  std::ifstream input(path_, std::ios::binary);
  input.seekg(entry.begin);
  if (!input.read(static_cast<char*>(tensor.data_ptr()), entry.bytes)) {
    throw UserError(fmt::format("{}: cannot be read to its end", path_.string()));
  }
  return tensor;
}

}  // namespace vitsim
