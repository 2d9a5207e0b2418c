#include "calibrate/profile/library.h"

#include <algorithm>
#include <cstdlib>
#include <set>
#include <system_error>

#include <fmt/format.h>

#include "models/document/words.h"
#include "models/error.h"

namespace vitsim {

namespace {

std::string_view environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? std::string_view() : std::string_view(value);
}

bool is_folder(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::is_directory(path, error);
}

bool is_file(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::is_regular_file(path, error);
}

std::vector<std::filesystem::path> files_of(const std::filesystem::path& place) {
  if (!is_folder(place)) {
    return {place};
  }
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(place)) {
    if (entry.path().extension() == ".json" && is_file(entry.path())) {
      files.push_back(entry.path());
    }
  }
  std::ranges::sort(files);
  return files;
}

const std::string& name_of(const Part& part) {
  return std::visit([](const auto& held) -> const std::string& { return held.name; }, part);
}

}  // namespace

std::optional<std::filesystem::path> shipped_configs() {
  std::vector<std::filesystem::path> candidates;
  if (const auto given = environment("VITSIM_CONFIGS"); !given.empty()) {
    const std::filesystem::path folder(given);
    if (!is_folder(folder / "profiles") && !is_folder(folder / "gpus")) {
      throw UserError(fmt::format(
          "$VITSIM_CONFIGS names {}, which has no folder \"profiles\" or \"gpus\": name a folder "
          "like the project's configs/, or unset it",
          in_quotes(given)));
    }
    return folder;
  }
  std::error_code error;
  const auto executable = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) {
    candidates.push_back(executable.parent_path() / "../share/vitsim/configs");
    candidates.push_back(executable.parent_path() / "../../configs");
  }
  candidates.emplace_back(VITSIM_SOURCE_DIR "/configs");
  for (const auto& candidate : candidates) {
    if (is_folder(candidate / "profiles") && is_folder(candidate / "gpus")) {
      return candidate.lexically_normal();
    }
  }
  return std::nullopt;
}

ProfileLibrary::ProfileLibrary(std::vector<std::filesystem::path> first)
    : places_(std::move(first)) {
  std::string_view rest = environment("VITSIM_PROFILES");
  while (!rest.empty()) {
    const auto colon = rest.find(':');
    if (colon != 0) {
      places_.emplace_back(rest.substr(0, colon));
      std::error_code error;
      if (!std::filesystem::exists(places_.back(), error)) {
        notes_.push_back(fmt::format("$VITSIM_PROFILES names {}, which does not exist",
                                     in_quotes(places_.back().string())));
      }
    }
    rest = colon == std::string_view::npos ? std::string_view() : rest.substr(colon + 1);
  }
  if (const auto shipped = shipped_configs()) {
    places_.push_back(*shipped / "profiles");
    places_.push_back(*shipped / "gpus");
    places_.push_back(*shipped / "links");
  }
}

template <class T>
std::optional<T> ProfileLibrary::find(std::string_view name) const {
  // A name is a word, never a path out of the folders.
  if (name.empty() || name.find('/') != std::string_view::npos) {
    return std::nullopt;
  }
  for (const auto& place : places_) {
    const auto file = is_folder(place) ? place / fmt::format("{}.json", name) : place;
    if (!is_file(file)) {
      continue;
    }
    Part part = read_part(file);
    if (auto* const wanted = std::get_if<T>(&part); wanted != nullptr && wanted->name == name) {
      return std::move(*wanted);
    }
  }
  return std::nullopt;
}

std::optional<GpuProfile> ProfileLibrary::gpu(std::string_view name) const {
  return find<GpuProfile>(name);
}

std::optional<LinkProfile> ProfileLibrary::link(std::string_view name) const {
  return find<LinkProfile>(name);
}

std::optional<GpuSheet> ProfileLibrary::sheet(std::string_view name) const {
  return find<GpuSheet>(name);
}

std::optional<LinkSheet> ProfileLibrary::link_sheet(std::string_view name) const {
  return find<LinkSheet>(name);
}

// A broken file that nobody asked for must not hide the message that somebody waits for.
template <class Visit>
void ProfileLibrary::visit_all(Visit visit) const {
  for (const auto& place : places_) {
    for (const auto& file : files_of(place)) {
      try {
        visit(read_part(file));
      } catch (const UserError&) {
        continue;
      }
    }
  }
}

std::vector<GpuProfile> ProfileLibrary::all_gpus() const {
  std::vector<GpuProfile> profiles;
  visit_all([&](Part part) {
    auto* const profile = std::get_if<GpuProfile>(&part);
    if (profile != nullptr &&
        std::ranges::find(profiles, profile->name, &GpuProfile::name) == profiles.end()) {
      profiles.push_back(std::move(*profile));
    }
  });
  return profiles;
}

template <class... Kinds>
std::vector<std::string> ProfileLibrary::names() const {
  std::set<std::string> found;
  visit_all([&](const Part& part) {
    if ((std::holds_alternative<Kinds>(part) || ...)) {
      found.insert(name_of(part));
    }
  });
  return {found.begin(), found.end()};
}

std::vector<std::string> ProfileLibrary::gpu_names() const {
  return names<GpuProfile, GpuSheet>();
}

std::vector<std::string> ProfileLibrary::link_names() const {
  return names<LinkProfile>();
}

std::vector<std::string> ProfileLibrary::link_sheet_names() const {
  return names<LinkSheet>();
}

}  // namespace vitsim
