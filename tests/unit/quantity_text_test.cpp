#include "models/document/quantity_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vitsim {
namespace {

using ::testing::HasSubstr;

double seconds(std::string_view text) {
  return parse_seconds(text).value.value().value();
}

double rate(std::string_view text) {
  return parse_bandwidth(text).value.value().value();
}

double bytes(std::string_view text) {
  return parse_bytes(text).value.value().value();
}

TEST(QuantityText, Times) {
  EXPECT_EQ(seconds("50us"), 50e-6);  // to the last bit: ticks are made from it
  EXPECT_EQ(seconds("3ns"), 3e-9);
  EXPECT_EQ(seconds("1.5 ms"), 1.5e-3);
  EXPECT_EQ(seconds("2s"), 2);
  EXPECT_EQ(seconds("2min"), 120);
  EXPECT_EQ(seconds("1.5h"), 5400);
  EXPECT_EQ(seconds("0"), 0);  // zero needs no unit
  EXPECT_EQ(seconds("1e3us"), 1e-3);
}

TEST(QuantityText, BitsAndBytesPerSecond) {
  EXPECT_EQ(rate("10Gbps"), 1.25e9);  // 10^10 bits / 8
  EXPECT_EQ(rate("100Mbit/s"), 1.25e7);
  EXPECT_EQ(rate("8kbps"), 1000);
  EXPECT_EQ(rate("1Tbps"), 1.25e11);
  EXPECT_EQ(rate("1.25GB/s"), 1.25e9);
  EXPECT_EQ(rate("1GiB/s"), 1073741824);
  EXPECT_EQ(rate("1Gb/s"), 1.25e8);  // a small b is a bit
  EXPECT_EQ(rate("1GBps"), 1e9);
}

TEST(QuantityText, Sizes) {
  EXPECT_EQ(bytes("64MiB"), 64.0 * 1024 * 1024);
  EXPECT_EQ(bytes("64MB"), 64e6);
  EXPECT_EQ(bytes("8B"), 8);
  EXPECT_EQ(bytes("4kB"), 4000);
  EXPECT_EQ(bytes("4KiB"), 4096);
  EXPECT_EQ(bytes("1GiB"), 1073741824);
}

TEST(QuantityText, ABareNumberSaysWhatToAppend) {
  EXPECT_THAT(parse_bandwidth("10").problem, HasSubstr("has no unit: append one, e.g. \"Gbps\""));
  EXPECT_THAT(parse_seconds("50").problem, HasSubstr("append one, e.g. \"us\""));
  EXPECT_THAT(parse_bytes("64").problem, HasSubstr("append one, e.g. \"MiB\""));
}

TEST(QuantityText, WhatIsNoQuantityIsAProblem) {
  for (const char* text : {"",
                           " ",
                           "us",
                           "nan us",
                           "NaN",
                           "inf s",
                           "Infinity",
                           "1..2s",
                           "-1us",
                           "1e999s",
                           "1e-999s",
                           "10 parsecs",
                           "10Gbps extra",
                           "0x10s",
                           "--1s",
                           "1,5s",
                           "50US"}) {
    const auto parsed = parse_seconds(text);
    EXPECT_FALSE(parsed.value.has_value()) << text;
    EXPECT_FALSE(parsed.problem.empty()) << text;
  }
  for (const char* text : {"10GB", "10mbps", "10 Gps", "Gbps", "-5Gbps", "1e400Gbps"}) {
    EXPECT_FALSE(parse_bandwidth(text).value.has_value()) << text;
  }
}

TEST(QuantityText, ForPeople) {
  // 29 x 60 + 11 = 1751.
  EXPECT_EQ(human(Seconds(1751)), "29 min 11 s");
  EXPECT_EQ(human(Seconds(3719)), "1 h 2 min");
  EXPECT_EQ(human(Seconds(100'000)), "1 d 4 h");  // 27.8 h
  EXPECT_EQ(human(Seconds(3.214)), "3.21 s");
  EXPECT_EQ(human(Seconds(0.1452)), "145.2 ms");
  EXPECT_EQ(human(Seconds(35.1e-6)), "35.1 us");
  EXPECT_EQ(human(Seconds(0)), "0 s");
  EXPECT_EQ(human(Seconds(-90)), "-1 min 30 s");
  EXPECT_EQ(human(BytesPerSecond(1.13e9)), "1.13 GB/s");
  EXPECT_EQ(human(Bytes(3.9 * 1024 * 1024 * 1024)), "3.9 GiB");
  EXPECT_EQ(human(Bytes(512)), "512 B");
  EXPECT_EQ(human(FlopsPerSecond(989.4e12)), "989.4 TFLOP/s");
}

TEST(QuantityText, NoSixtySeconds) {
  EXPECT_EQ(human(Seconds(59.999)), "1 min 0 s");
  EXPECT_EQ(human(Seconds(119.9)), "2 min 0 s");
  EXPECT_EQ(human(Seconds(3599.9)), "1 h 0 min");
  EXPECT_EQ(human(Seconds(0.99999)), "1.00 s");
}

}  // namespace
}  // namespace vitsim
