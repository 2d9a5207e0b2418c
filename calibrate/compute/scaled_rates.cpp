// Rates of a GPU that nobody measured in a precision: its data sheet times the shares of their
// sheets that calibrated GPUs reach, kind by kind.
//
// Products take the share of the same arithmetic unit; attention the share of its width of numbers;
// kernels that stream, the share of the bandwidth; norms and copies, whose elements show, the
// vector units' rate. Where a card's power does not feed its peak (a T4's 70 W, an A40's fp32), the
// share is of what the power feeds. Each is a mean of logarithms in which near generations and the
// same kind of memory weigh more. The weights depend on names alone, never on figures, and every
// share is a constant of the target: a faster sheet never makes a slower pass.
#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "calibrate/compute/compute_sources.h"
#include "calibrate/compute/gpu_generation.h"

namespace vitsim {

namespace {

constexpr double kPerGeneration = 1.2;    // of the logarithm of a donor's weight
constexpr double kOtherMemory = 0.3;      // weight of a donor with another kind of memory
constexpr double kLeastShare = 0.12;      // below: ill, e.g. short of memory, and no guide
constexpr double kStackError = 0.12;      // of another host's software and cooling
constexpr double kOwnWeight = 50;         // of this GPU's own rates in another precision
constexpr double kPriorError = 0.15;      // of a GPU known by its sheet
constexpr double kPriorDonors = 3;        // that the prior is worth
constexpr double kOtherUnitError = 0.15;  // where no donor computed on the same unit
constexpr double kHostSigma = 0.35;       // between hosts, where few were seen
constexpr double kTypicalWeight = 0.1;    // of the typical launch beside those of hosts

struct Donor {
  const GpuSheet* sheet;
  const OperatorRates* rates;
  ArithmeticUnit unit;
  double weight;
  std::string name;
};

double unit_peak(const GpuSheet& sheet, ArithmeticUnit unit) {
  switch (unit) {
    case ArithmeticUnit::kPlain:
      return sheet.fp32.value();
    case ArithmeticUnit::kTf32:
      return peak_flops(sheet, Precision::kTf32).value();
    case ArithmeticUnit::kShort:
      return std::max(peak_flops(sheet, Precision::kFp16), peak_flops(sheet, Precision::kBf16))
          .value();
  }
  return 0;
}

bool is_wide(Precision precision, ArithmeticUnit unit) {
  return arithmetic_bytes(precision) == Bytes(4) || unit == ArithmeticUnit::kPlain;
}

double log_mean(const std::vector<Donor>& donors, const std::function<double(const Donor&)>& of) {
  double sum = 0;
  double weights = 0;
  for (const Donor& donor : donors) {
    const double value = of(donor);
    if (value > 0) {
      sum += donor.weight * std::log(value);
      weights += donor.weight;
    }
  }
  return weights > 0 ? std::exp(sum / weights) : 0;
}

// What products get of the power: flops for a joule, by process and unit. Plain fp32 as the Tesla
// P4 (16 nm), the T4 (12 nm) and the RTX 3070 and A40 (8 nm) show, which all stop there; tensor
// cores as what vendors and users report of V100 and A100 under training, half as much again on 4
// nm.
double flops_per_joule(const GpuSheet& sheet, ArithmeticUnit unit) {
  struct Generation {
    double plain;
    double tf32;
    double short_numbers;
  };

  static constexpr std::array<Generation, 7> kFlopsPerJoule = {{{45e9, 45e9, 45e9},
                                                                {56e9, 56e9, 0.29e12},
                                                                {56e9, 56e9, 0.35e12},
                                                                {57e9, 0.30e12, 0.60e12},
                                                                {100e9, 0.65e12, 1.3e12},
                                                                {90e9, 0.65e12, 1.3e12},
                                                                {110e9, 0.75e12, 1.5e12}}};
  const Generation& own = kFlopsPerJoule[static_cast<std::size_t>(gpu_generation(sheet))];
  switch (unit) {
    case ArithmeticUnit::kPlain:
      return own.plain;
    case ArithmeticUnit::kTf32:
      return own.tf32;
    case ArithmeticUnit::kShort:
      return own.short_numbers;
  }
  return own.plain;
}

// What products can reach: the peak, or less where the power does not feed it.
double fed_peak(const GpuSheet& sheet, ArithmeticUnit unit) {
  const double peak = unit_peak(sheet, unit);
  return sheet.tdp_w ? std::min(peak, *sheet.tdp_w * flops_per_joule(sheet, unit)) : peak;
}

double forward_share(const Donor& donor) {
  return donor.rates->gemm_forward.value() / fed_peak(*donor.sheet, donor.unit);
}

// How far the donors' shares lie from each other, beside a prior: few cannot know it.
double share_error(const std::vector<Donor>& donors) {
  const double center = std::log(log_mean(donors, forward_share));
  double squares = 0;
  double weights = 0;
  for (const Donor& donor : donors) {
    squares += donor.weight * std::pow(std::log(forward_share(donor)) - center, 2);
    weights += donor.weight;
  }
  const auto n = static_cast<double>(donors.size());
  const double own = n < 2 ? 0 : squares / weights * (n + 1) / (n - 1);
  return std::sqrt((n * own + kPriorDonors * kPriorError * kPriorError) / (n + kPriorDonors));
}

std::vector<Donor> all_donors(const std::string& gpu,
                              const GpuSheet& target,
                              const ProfileSet& profiles) {
  std::vector<Donor> donors;
  for (const auto& [name, profile] : profiles.gpus) {
    const auto sheet = profiles.sheets.find(name);
    if (sheet == profiles.sheets.end()) {
      continue;
    }
    for (const OperatorRates& rates : profile.rates) {
      Donor donor{.sheet = &sheet->second,
                  .rates = &rates,
                  .unit = arithmetic_unit(sheet->second, rates.precision),
                  .weight = name == gpu ? kOwnWeight : kinship(sheet->second, target),
                  .name = name};
      if (name == gpu || forward_share(donor) > kLeastShare) {
        donors.push_back(std::move(donor));
      }
    }
  }
  return donors;
}

}  // namespace

double kinship(const GpuSheet& a, const GpuSheet& b) {
  const double generations = std::abs(gpu_generation(a) - gpu_generation(b));
  return std::exp(-kPerGeneration * generations) *
         (a.has_stacked_memory() == b.has_stacked_memory() ? 1 : kOtherMemory);
}

HostLaunch host_launch(const std::string& gpu, const ProfileSet& profiles) {
  const auto own = profiles.gpus.find(gpu);
  if (own != profiles.gpus.end() && own->second.host) {
    return *own->second.host;
  }
  const auto target = profiles.sheets.find(gpu);
  double weights = kTypicalWeight;
  double forward = weights * std::log(kTypicalLaunch.value());
  double backward = forward;
  double within = 0;
  for (const auto& [name, profile] : profiles.gpus) {
    const auto sheet = profiles.sheets.find(name);
    if (!profile.host || sheet == profiles.sheets.end()) {
      continue;
    }
    const double weight =
        target == profiles.sheets.end() ? 1 : kinship(sheet->second, target->second);
    weights += weight;
    forward += weight * std::log(profile.host->forward.value());
    backward += weight * std::log(profile.host->backward.value());
    within = std::max(within, profile.host->sigma.value_or(0));
  }
  return {.forward = Seconds(std::exp(forward / weights)),
          .backward = Seconds(std::exp(backward / weights)),
          .sigma = std::hypot(within, kHostSigma)};
}

std::optional<ScaledRates> scaled_rates(const std::string& gpu,
                                        const GpuSheet& sheet,
                                        Precision precision,
                                        const ProfileSet& profiles) {
  return scaled_rates(gpu, sheet, precision, arithmetic_unit(sheet, precision), profiles);
}

std::optional<ScaledRates> scaled_rates(const std::string& gpu,
                                        const GpuSheet& sheet,
                                        Precision precision,
                                        ArithmeticUnit unit,
                                        const ProfileSet& profiles) {
  const std::vector<Donor> all = all_donors(gpu, sheet, profiles);
  if (all.empty()) {
    return std::nullopt;
  }
  const bool wide = is_wide(precision, unit);
  std::vector<Donor> products;
  std::vector<Donor> attention;
  for (const Donor& donor : all) {
    if (donor.unit == unit) {
      products.push_back(donor);
    }
    if (is_wide(donor.rates->precision, donor.unit) == wide) {
      attention.push_back(donor);
    }
  }
  ScaledRates scaled;
  scaled.own = std::ranges::count(all, gpu, &Donor::name) > 0;
  const bool other_unit = products.empty();
  if (other_unit) {
    products = all;
  }
  if (attention.empty()) {
    attention = all;
  }
  const double peak = fed_peak(sheet, unit);
  const auto attention_peak = [&](const GpuSheet& of, bool is_wide_unit, ArithmeticUnit own) {
    return fed_peak(of, is_wide_unit ? ArithmeticUnit::kPlain : own);
  };
  OperatorRates& rates = scaled.rates;
  rates.precision = precision;
  const auto at_most_peak = [&](double rate) {
    return FlopsPerSecond(std::min(rate, unit_peak(sheet, unit)));
  };
  rates.gemm_forward = at_most_peak(peak * log_mean(products, forward_share));
  rates.gemm_backward =
      at_most_peak(peak * log_mean(products, [](const Donor& donor) {
                     return donor.rates->gemm_backward.value() / fed_peak(*donor.sheet, donor.unit);
                   }));
  rates.gemm_inner = log_mean(products, [](const Donor& donor) { return donor.rates->gemm_inner; });
  // One wave of tiles takes as long on a larger GPU: its outputs go with the rate.
  rates.gemm_outputs = rates.gemm_forward.value() * log_mean(products, [](const Donor& donor) {
                         return donor.rates->gemm_outputs / donor.rates->gemm_forward.value();
                       });
  rates.convolution = convolution_share(unit) * rates.gemm_forward;
  rates.attention = FlopsPerSecond(
      attention_peak(sheet, wide, unit) * log_mean(attention, [&](const Donor& donor) {
        return donor.rates->attention.value() /
               attention_peak(
                   *donor.sheet, is_wide(donor.rates->precision, donor.unit), donor.unit);
      }));
  rates.memory = sheet.memory_bandwidth * log_mean(all, [](const Donor& donor) {
                   return donor.rates->memory / donor.sheet->memory_bandwidth;
                 });
  rates.forward_factor =
      log_mean(all, [](const Donor& donor) { return donor.rates->forward_factor; });
  rates.backward_factor =
      log_mean(all, [](const Donor& donor) { return donor.rates->backward_factor; });
  rates.elements = sheet_vector_rate(sheet) * log_mean(all, [](const Donor& donor) {
                     return donor.rates->elements / sheet_vector_rate(*donor.sheet);
                   });
  rates.kernel_start =
      Seconds(log_mean(all, [](const Donor& donor) { return donor.rates->kernel_start.value(); }));
  scaled.error = std::hypot(share_error(products), kStackError);
  if (other_unit) {
    scaled.error = std::hypot(scaled.error, kOtherUnitError);
  }
  for (const Donor& donor : products) {
    if (std::ranges::count(scaled.donors, donor.name) == 0) {
      scaled.donors.push_back(donor.name);
    }
  }
  return scaled;
}

}  // namespace vitsim
