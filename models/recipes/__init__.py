"""One file per learned system.

hidef       one pass: focus and phase for everything in the depth
            hidef_scenes: what it learns from; hidef_evaluation: what scores it; hidef_transfer: for one instrument
            hidef_extended: scenes that are no particles; hidef_second_look: its weights; hidef_stages: what each stage knows, by ring
bioaerosol  names pollen, spores and dust
water       names what swims and drifts in water
beads       names single beads and clumps by their number of beads
"""
