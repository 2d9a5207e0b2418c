#pragma once

#include <span>

namespace vitsim {

/// Standard normal distribution function.
double normal_cdf(double x);

/// Its inverse, to about 1e-9 (Acklam's rational approximation with one Halley step). 0 < p < 1.
double normal_quantile(double p);

/// Quantile of Student's t with `degrees` of freedom (Hill 1970, CACM algorithm 396). 0 < p < 1.
double student_quantile(double p, double degrees);

/// Mean of the largest of `n` independent standard normals (Blom's approximation, exact for 1 and 2
/// within 1 %).
double expected_maximum(double n);

/// Quantile by linear interpolation between order statistics. `values` must be sorted and not
/// empty.
double quantile_of_sorted(std::span<const double> values, double p);

/// Median; the values need not be sorted and are copied. Must not be empty.
double median(std::span<const double> values);

/// Median absolute deviation from the median, times 1.4826: sigma of a normal, whatever outliers
/// do.
double robust_sigma(std::span<const double> values);

}  // namespace vitsim
