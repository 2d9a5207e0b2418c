#!/usr/bin/env python3
"""The synthetic set of trainer/data/synthetic.cpp once more, written from its description.

synthetic_test.cpp compares bytes with what this prints; a training in Python can import it to see
the same images as the C++ one."""

MASK = 2**64 - 1
GAMMA = 0x9E3779B97F4A7C15
TEMPLATE, TRAIN_SAMPLE, TEST_SAMPLE = 0x7E3A, 0x7E3B, 0x7E3C


def mix(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


class CounterRandom:
    def __init__(self, seed, *key):
        self.state = mix((seed + GAMMA) & MASK)
        for part in key:
            self.state = mix(self.state ^ mix((part + GAMMA) & MASK))

    def next(self):
        self.state = (self.state + GAMMA) & MASK
        return mix(self.state)

    def below(self, bound):
        return ((self.next() >> 33) * bound) >> 31


def toward_zero(a, b):
    return a // b if a >= 0 else -((-a) // b)


class Synthetic:
    """Image `index` is a list of rows of pixels of channels, 0 to 255; label: index modulo classes."""

    def __init__(self, classes, image_size, channels, seed, train=True):
        self.classes, self.size, self.channels, self.seed = classes, image_size, channels, seed
        self.purpose = TRAIN_SAMPLE if train else TEST_SAMPLE
        random = CounterRandom(seed, TEMPLATE)
        self.templates = [
            [[[random.below(128) - 64 for _ in range(channels)] for _ in range(4)] for _ in range(4)]
            for _ in range(classes)
        ]

    def read(self, index):
        label = index % self.classes
        random = CounterRandom(self.seed, self.purpose, index)
        rival = random.below(self.classes)
        strength = 48 + random.below(49)
        rival_strength = random.below(49)
        noise = []
        image = []
        for y in range(self.size):
            row = []
            for x in range(self.size):
                block = (y * 4 // self.size, x * 4 // self.size)
                pixel = []
                for channel in range(self.channels):
                    if not noise:
                        bits = random.next()
                        noise = [(bits >> (8 * i)) & 127 for i in range(8)]
                    own = self.templates[label][block[0]][block[1]][channel]
                    other = self.templates[rival][block[0]][block[1]][channel]
                    level = 128 + toward_zero(strength * own + rival_strength * other, 64)
                    pixel.append(min(255, max(0, level + noise.pop(0) - 64)))
                row.append(pixel)
            image.append(row)
        return label, image


def fnv1a(values):
    result = 0xCBF29CE484222325
    for value in values:
        result = ((result ^ value) * 0x100000001B3) & MASK
    return result


if __name__ == "__main__":
    for size, channels, train, index in [(8, 3, True, 0), (31, 1, False, 123456789)]:
        label, image = Synthetic(10, size, channels, 1, train).read(index)
        flat = [value for row in image for pixel in row for value in pixel]
        print(f"size {size}, channels {channels}, train {train}, index {index}: {fnv1a(flat):#x}")
